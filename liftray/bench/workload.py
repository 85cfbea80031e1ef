"""The work of every contestant of a comparison: the same chains, model, head, precision and optimiser settings.

Invariant: a workload is plain values that determine chains and weights, so that separate processes do the same work.
Flow: suite -> [this] -> competitors and our own path, each in its own process.
"""

import statistics
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from liftray.adapt import kinds
from liftray.adapt.cut import Cut
from liftray.backbone.families import family
from liftray.backbone.tokens import TokenTable, token_table
from liftray.bench.chains import Chain, sample
from liftray.bench.shapes import Shape, shape
from liftray.data import labels
from liftray.data.labels import STATES
from liftray.errors import ConfigError
from liftray.sections import AdapterSettings

Precision = Literal["float32", "bfloat16"]
# Chains of a warm-up pass of a prediction: it learns nothing, so more would only take longer.
WARM_CHAINS = 16


class Encoded(NamedTuple):
    """One chain as input of a model.

    Attributes:
        tokens_L: Token ids, special tokens included.
        labels_L: Class codes; IGNORE_INDEX at special tokens and where there is no label.
    """

    tokens_L: npt.NDArray[np.int64]
    labels_L: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Workload:
    """The work of a comparison.

    Attributes:
        shape: Architecture, one of `shapes.SHAPES`.
        pretrained: Whether to take the shape's weights from the package index; else they are random.
        skip_layers: The cut k.
        kind: Adapters of our own path, of the paper's loop and of the bare one.
        reduction_factor: Width of adapters, and rank of every LoRA: backbone width / this, at least 1.
        task: Alphabet of the labels; the head has one class a state.
        dropout: Before the linear head.
        lr: Learning rate of AdamW.
        precision: float32 throughout, or bfloat16 in the way that is usual for the contestant.
        device: `cpu` or `cuda`.
        chains: Chains of a pass.
        longest: Residues to which longer chains are cut.
        warmup: Passes that are not measured.
        repeats: Measured passes.
        seed: Of chains, weights, order and dropout.
    """

    shape: str = "esm2_8m"
    pretrained: bool = True
    skip_layers: int = 4
    kind: Literal["bottleneck", "lora"] = "bottleneck"
    reduction_factor: int = 64
    task: str = "ss9"
    dropout: float = 0.1
    lr: float = 1e-3
    precision: Precision = "float32"
    device: str = "cpu"
    chains: int = 48
    longest: int = 511
    warmup: int = 1
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a cut that leaves nothing to train, and counts that measure nothing."""
        blocks = self.model.blocks
        if not 0 <= self.skip_layers < blocks:
            raise ConfigError(
                f"skip_layers={self.skip_layers} of {blocks} blocks", remedy=f"choose 0 to {blocks - 1}"
            )
        if min(self.chains, self.repeats) < 1 or self.warmup < 0:
            raise ConfigError(
                f"{self.chains} chains, {self.warmup} passes to warm up, {self.repeats} that count",
                remedy="choose at least one chain and one pass that counts",
            )

    @property
    def model(self) -> Shape:
        """The architecture."""
        return shape(self.shape)

    @property
    def rank(self) -> int:
        """Width of a bottleneck, rank of a LoRA.

        Raises:
            ConfigError: The kind has no width.
        """
        section = AdapterSettings(kind=self.kind, reduction_factor=self.reduction_factor)
        width = kinds.width_as_built(section, self.model.width)
        if width is None:
            raise ConfigError(f"kind={self.kind} has no width", remedy="compare a kind with a width")
        return width

    @property
    def cut(self) -> Cut:
        """Where the frozen part ends in our own path."""
        section = AdapterSettings(kind=self.kind, skip_layers=self.skip_layers)
        return Cut.of("adapter", section, self.model.family, self.model.blocks)

    @property
    def classes(self) -> int:
        """Classes C of the head."""
        return len(STATES[self.task])

    def drawn(self) -> list[Chain]:
        """The chains: (id, sequence, labels)."""
        return sample(self.chains, self.seed, longest=self.longest)[0]

    def tokens(self) -> TokenTable:
        """How the architecture writes a sequence."""
        return token_table(family(self.model.family), None, self.model.config["vocab_size"], self.shape)

    def encoded(self) -> list[Encoded]:
        """The chains as tokens and class codes."""
        tokens = self.tokens()
        ends = (tokens.num_leading, tokens.num_trailing)
        return [
            Encoded(
                tokens.encode(sequence),
                np.pad(
                    labels.encode(labels.map_string(ss, "ss9", self.task), self.task),
                    ends,
                    constant_values=labels.IGNORE_INDEX,
                ),
            )
            for _, sequence, ss in self.drawn()
        ]


@dataclass(frozen=True)
class Timing:
    """The measured time of a contestant.

    Attributes:
        residues: Residues of one pass; special tokens and padding are not counted.
        seconds: Duration of each measured pass.
        details: Further facts for the report, ready for JSON.
    """

    residues: int
    seconds: list[float]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def residues_per_s(self) -> float:
        """Residues over the median pass."""
        return self.residues / statistics.median(self.seconds)
