"""The recurrent head: one bidirectional LSTM layer."""

from typing import Self

import torch
from torch import Tensor, nn

from liftray.adapt.activation_bytes import FLOAT32, ForwardPass
from liftray.adapt.heads.base import Head
from liftray.backbone.packed import WindowLayout
from liftray.sections import HeadSettings

UNITS = 256  # of each direction


class LstmHead(Head):
    """One bidirectional LSTM layer and a linear classifier, to compare with.

    Two layers of one direction each. Their rows begin with a window's first residue or, reversed, with its last, so
    padding always comes after the residues. Special tokens are not read.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.onward = nn.LSTM(width, UNITS, batch_first=True)
        self.back = nn.LSTM(width, UNITS, batch_first=True)
        self.classify = nn.Linear(2 * UNITS, classes)

    @classmethod
    def build(cls, settings: HeadSettings, width: int, classes: int) -> Self:
        return cls(width, classes, settings.dropout)

    @classmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        # Four gates a unit and direction, each with two biases, and a linear layer on both.
        direction = 4 * UNITS * (width + UNITS + 2)
        return 2 * direction + (2 * UNITS + 1) * classes

    @classmethod
    def activation_bytes(cls, forward: ForwardPass) -> float:
        """Bytes a place, in float32: of each direction rows, gates and outputs.

        On a CPU 17 numbers a unit, step by step (measured); in cuDNN's reserve about 7.
        """
        numbers = 7 if forward.device == "cuda" else 17
        return 2.0 * FLOAT32 * (forward.size.width + numbers * UNITS)

    @classmethod
    def momentary_bytes(cls, width: int) -> float:
        return 4.0 * FLOAT32 * 2 * UNITS

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        rows_BL = layout.pad(residues_T)
        place_BL = rows_BL.cumsum(1) - 1
        count_T = rows_BL.sum(1)[layout.window_T]
        first_T = layout.unpad(place_BL)
        x_TD = self.dropout(hidden_TD)
        # In float32: not every device has a kernel for an LSTM in bfloat16.
        with torch.autocast(hidden_TD.device.type, enabled=False):
            sides = [
                _along_rows(lstm, x_TD.float(), residues_T, place_T, layout)
                for lstm, place_T in ((self.onward, first_T), (self.back, count_T - 1 - first_T))
            ]
        return self.classify(torch.cat(sides, dim=-1))


def _along_rows(
    lstm: nn.LSTM, x_TD: Tensor, residues_T: Tensor, place_T: Tensor, layout: WindowLayout
) -> Tensor:
    """Run an LSTM over each window's residues, the one of place 0 first; special tokens get zeros."""
    # One place more than there are tokens, where all special tokens go: to leave them out, their number would have to
    # be waited for.
    place_T = torch.where(residues_T, place_T, layout.longest)
    rows_BLD = x_TD.new_zeros(len(layout.lengths), layout.longest + 1, x_TD.shape[1])
    out_BLU, _ = lstm(rows_BLD.index_put((layout.window_T, place_T), x_TD))
    return out_BLU[layout.window_T, place_T] * residues_T[:, None]
