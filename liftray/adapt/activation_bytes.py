"""Units in which activations are counted: bytes a token, and what a forward pass computes in.

Invariant: pure arithmetic over sizes, no torch. Read by adapter kinds, heads and `train.memory`.
"""

from dataclasses import dataclass
from typing import Literal

from liftray.backbone.dimensions import Dimensions

Device = Literal["cpu", "cuda"]
FLOAT32, INT64 = 4, 8  # bytes


@dataclass(frozen=True)
class ActivationBytes:
    """Bytes that a forward pass keeps for the backward pass.

    Attributes:
        token: Bytes a token.
        once: Bytes whatever the batch.
    """

    token: float = 0.0
    once: float = 0.0

    def __add__(self, other: "ActivationBytes") -> "ActivationBytes":
        return ActivationBytes(self.token + other.token, self.once + other.once)


@dataclass(frozen=True)
class ForwardPass:
    """What the bytes of a number depend on.

    Attributes:
        size: Sizes of the backbone.
        dtype: `float32` or `bfloat16`, of its weights and hidden states.
        device: Where it runs.
        max_length: Longest window, in residues.
    """

    size: Dimensions
    dtype: str
    device: Device
    max_length: int

    @property
    def hidden(self) -> int:
        """Bytes of a number in hidden states and matrix products."""
        return 2 if self.dtype == "bfloat16" else FLOAT32

    @property
    def attention(self) -> int:
        """Bytes of a number that attention keeps: on a CPU it runs in float32 whatever the model's precision."""
        return self.hidden if self.device == "cuda" else FLOAT32

    @property
    def norm(self) -> int:
        """Bytes of a number in a norm's input; autocast on a GPU converts it to float32, and so does T5's norm."""
        if self.dtype == "bfloat16" and self.size.family == "t5":
            return self.hidden + FLOAT32
        return FLOAT32 if self.device == "cuda" else self.hidden

    @property
    def mask(self) -> int:
        """Bytes of a number that dropout keeps: a factor on a CPU, a flag on a GPU."""
        return self.hidden if self.device == "cpu" else 1

    @property
    def parallel_input_is_separate(self) -> bool:
        """Whether the input of a parallel adapter is kept for the adapter alone, not as a norm's input as well."""
        return self.size.family == "bert" or self.norm != self.hidden
