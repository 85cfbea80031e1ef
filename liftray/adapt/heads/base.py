"""What LiftRay must know of a head, before and after it is built."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn

from liftray.adapt.activation_bytes import FLOAT32, ForwardPass
from liftray.adapt.heads.block_mix import BlockMix
from liftray.backbone.packed import WindowLayout
from liftray.sections import HeadSettings


class Head(nn.Module, ABC):
    """From hidden states to class logits.

    Attributes:
        pads: Whether it lays windows out as rows of equal length, and so computes padding.
        mix: What makes the hidden state of several blocks' outputs; set with `head.mix_blocks` alone.
    """

    pads: ClassVar[bool] = True
    mix: BlockMix

    @classmethod
    @abstractmethod
    def build(cls, settings: HeadSettings, width: int, classes: int) -> Self:
        """Make the head.

        Args:
            settings: The head section.
            width: Width D of the hidden state.
            classes: Number of classes C.
        """

    @abstractmethod
    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give class logits.

        Args:
            hidden_TD: Last hidden states.
            residues_T: True on residues, False on special tokens.
            layout: Borders of the windows.

        Returns:
            logits_TC.
        """

    @classmethod
    @abstractmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        """How many parameters `build` makes; arguments as there."""

    @classmethod
    def activation_bytes(cls, forward: ForwardPass) -> float:
        """Bytes for each token, or place of a padded row, kept for the backward pass in addition to the input."""
        return 0.0

    @classmethod
    def momentary_bytes(cls, width: int) -> float:
        """Bytes a token that its backward pass needs for a moment; `width` is that of the hidden state."""
        return 2.0 * FLOAT32 * width
