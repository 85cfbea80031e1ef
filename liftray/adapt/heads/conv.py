"""The convolutional head of Yang, Liu & Li (2023), and the trunk that their metric head shares with it."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.adapt.activation_bytes import FLOAT32, ForwardPass
from liftray.adapt.heads.base import Head
from liftray.backbone.packed import WindowLayout
from liftray.sections import HeadSettings

# Channels of the two units, behind the wide convolution, and dimensions Z of the embedding.
UNIT_CHANNELS, WIDE_CHANNELS, EMBEDDING = 1024, 96, 32


class InceptionUnit(nn.Module):
    """Pointwise convolution, half of its channels through a width-3 one, hardswish, RMS norm, dropout 0.2.

    Args:
        channels_in: Channels that come in.
        channels_out: Channels that go out; where both agree the input is added (residual).
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.near_channels = channels_out // 2
        self.pointwise = nn.Conv1d(channels_in, channels_out, kernel_size=1)
        self.near = nn.Conv1d(self.near_channels, self.near_channels, kernel_size=3, padding=1)
        self.norm = nn.RMSNorm(channels_out, eps=1e-6)
        self.dropout = nn.Dropout(0.2)
        self.residual = channels_in == channels_out

    @staticmethod
    def parameter_count(channels_in: int) -> int:
        """Parameters of a unit that gives UNIT_CHANNELS."""
        near = UNIT_CHANNELS // 2
        return (channels_in + 1) * UNIT_CHANNELS + (3 * near + 1) * near + UNIT_CHANNELS

    def forward(self, x_BDL: Tensor, mask_B1L: Tensor) -> Tensor:
        """Apply the unit; what is outside the mask never enters the width-3 convolution."""
        y_BDL = self.pointwise(x_BDL)
        far_BDL, near_BDL = y_BDL.split([y_BDL.shape[1] - self.near_channels, self.near_channels], dim=1)
        y_BDL = functional.hardswish(torch.cat([far_BDL, self.near(near_BDL * mask_B1L)], dim=1))
        # In float32: the norm's weights are, and under autocast its input is not.
        y_BDL = self.dropout(self.norm(y_BDL.transpose(1, 2).float()).transpose(1, 2))
        return x_BDL + y_BDL if self.residual else y_BDL


class ConvTrunk(Head):
    """The convolutional trunk of Yang, Liu & Li (2023): what their two heads have in common.

    Two inception units of 1024 channels, a width-9 convolution to 96 channels, a linear layer to Z = 32 dimensions.

    Args:
        width: Width D of the hidden state.
        dropout: Share of the hidden state dropped in training, before the first unit.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.units = nn.ModuleList(
            [InceptionUnit(width, UNIT_CHANNELS), InceptionUnit(UNIT_CHANNELS, UNIT_CHANNELS)]
        )
        self.wide = nn.Conv1d(UNIT_CHANNELS, WIDE_CHANNELS, kernel_size=9, padding=4)
        self.embed = nn.Linear(WIDE_CHANNELS, EMBEDDING)

    def embedding(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Embed each token.

        Args:
            hidden_TD: Last hidden states.
            residues_T: True on residues, False on special tokens.
            layout: Borders of the windows, which become rows here: a convolution would reach across them.

        Returns:
            embedding_TZ with Z = 32.
        """
        mask_B1L = layout.pad(residues_T).unsqueeze(1).to(hidden_TD.dtype)
        x_BDL = layout.pad(self.dropout(hidden_TD)).transpose(1, 2)
        for unit in self.units:
            x_BDL = unit(x_BDL, mask_B1L)
        x_BDL = torch.relu(self.wide(x_BDL * mask_B1L))
        return self.embed(layout.unpad(x_BDL.transpose(1, 2)))

    @classmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        """Parameters of the trunk alone; the heads add their classifier's."""
        units = InceptionUnit.parameter_count(width) + InceptionUnit.parameter_count(UNIT_CHANNELS)
        return units + (9 * UNIT_CHANNELS + 1) * WIDE_CHANNELS + (WIDE_CHANNELS + 1) * EMBEDDING

    @classmethod
    def activation_bytes(cls, forward: ForwardPass) -> float:
        """Bytes a place of a row.

        Of both units the half that goes through the width-3 convolution, the activation's input, the float32 norm's
        input (on a CPU its result as well) and dropout; the input of the second unit and of the last convolution; and
        the few numbers behind that.
        """
        on_gpu = forward.device == "cuda"
        normed = FLOAT32 if on_gpu else 2 * FLOAT32
        unit = forward.hidden * 3 // 2 + normed + (1 if on_gpu else FLOAT32)
        behind = forward.hidden * (2 * WIDE_CHANNELS + EMBEDDING)
        return 2 * (unit + forward.hidden) * UNIT_CHANNELS + behind

    @classmethod
    def momentary_bytes(cls, width: int) -> float:
        return 4.0 * FLOAT32 * UNIT_CHANNELS


class ConvHead(ConvTrunk):
    """The convolutional head of Yang, Liu & Li (2023), with a linear classifier at the end.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training, before the first unit.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__(width, dropout)
        self.classify = nn.Linear(EMBEDDING, classes)

    @classmethod
    def build(cls, settings: HeadSettings, width: int, classes: int) -> Self:
        return cls(width, classes, settings.dropout)

    @classmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        return super().parameter_count(width, classes) + (EMBEDDING + 1) * classes

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        return self.classify(self.embedding(hidden_TD, residues_T, layout))
