"""The linear head: dropout and one linear layer, which sees one position."""

from typing import Self

from torch import Tensor, nn

from liftray.adapt.heads.base import Head
from liftray.backbone.packed import WindowLayout
from liftray.sections import HeadSettings


class LinearHead(Head):
    """Dropout and one linear layer.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training.
    """

    pads = False

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, classes)

    @classmethod
    def build(cls, settings: HeadSettings, width: int, classes: int) -> Self:
        return cls(width, classes, settings.dropout)

    @classmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        return (width + 1) * classes

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        return self.classify(self.dropout(hidden_TD))
