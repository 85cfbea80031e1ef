"""Heads: from the last hidden state of each residue to class logits.

Invariant: no head sees padding or another chain: positions outside the residue mask are zero before every convolution
that is wider than one. Flow: suffix -> [this] -> loss or prediction.
"""

import torch
from torch import Tensor, nn

from liftray.backbone.attention import Layout
from liftray.config import HeadSettings


class LinearHead(nn.Module):
    """Dropout and one linear layer.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, classes)

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: Layout) -> Tensor:
        """Give logits_TC; the borders are not needed, a linear layer sees one position."""
        return self.classify(self.dropout(hidden_TD))


class ConvHead(nn.Module):
    """The convolutional head of Yang, Liu & Li (2023), with a linear classifier at the end.

    Two inception units of 1024 channels, a width-9 convolution to 96 channels, a linear layer to 32, the classifier.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training, before the first unit.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.units = nn.ModuleList([InceptionUnit(width, 1024), InceptionUnit(1024, 1024)])
        self.wide = nn.Conv1d(1024, 96, kernel_size=9, padding=4)
        self.embed = nn.Linear(96, 32)
        self.classify = nn.Linear(32, classes)

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: Layout) -> Tensor:
        """Give logits.

        Args:
            hidden_TD: Last hidden states.
            residues_T: True where a residue stands, False at special tokens.
            layout: Borders of the windows, which become rows here: a convolution would reach across them.

        Returns:
            logits_TC.
        """
        mask_B1L = layout.pad(residues_T).unsqueeze(1).to(hidden_TD.dtype)
        x_BDL = layout.pad(self.dropout(hidden_TD)).transpose(1, 2)
        for unit in self.units:
            x_BDL = unit(x_BDL, mask_B1L)
        x_BDL = torch.relu(self.wide(x_BDL * mask_B1L))
        return self.classify(self.embed(layout.unpad(x_BDL.transpose(1, 2))))


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

    def forward(self, x_BDL: Tensor, mask_B1L: Tensor) -> Tensor:
        """Apply the unit; what stands outside the mask never enters the width-3 convolution."""
        y_BDL = self.pointwise(x_BDL)
        far_BDL, near_BDL = y_BDL.split([y_BDL.shape[1] - self.near_channels, self.near_channels], dim=1)
        y_BDL = nn.functional.hardswish(torch.cat([far_BDL, self.near(near_BDL * mask_B1L)], dim=1))
        # In float32: the norm's weights are, and under autocast its input is not.
        y_BDL = self.dropout(self.norm(y_BDL.transpose(1, 2).float()).transpose(1, 2))
        return x_BDL + y_BDL if self.residual else y_BDL


_KINDS = {"linear": LinearHead, "conv": ConvHead}


def pads(settings: HeadSettings) -> bool:
    """Whether the head lays windows out as rows of equal length, and so computes padding."""
    return settings.kind != "linear"


def build(settings: HeadSettings, width: int, classes: int) -> nn.Module:
    """Make the head that the settings name.

    Args:
        settings: Kind and dropout.
        width: Width of the hidden state.
        classes: Number of classes.

    Returns:
        A module: (hidden_TD, residues_T, layout) -> logits_TC.
    """
    return _KINDS[settings.kind](width, classes, settings.dropout)
