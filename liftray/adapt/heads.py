"""Heads: from the last hidden state of each residue to class logits.

Invariant: no head sees padding or another chain: positions outside the residue mask are zero before every convolution
that is wider than one, and an LSTM ends before them. Flow: suffix -> [this] -> loss or prediction.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.adapt.sizes import EMBEDDED, LSTM_UNITS, UNIT, WIDE
from liftray.backbone.packed import WindowLayout
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

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give logits_TC; the borders are not needed, a linear layer sees one position."""
        return self.classify(self.dropout(hidden_TD))


class ConvTrunk(nn.Module):
    """The convolutional trunk of Yang, Liu & Li (2023): what their two heads have in common.

    Two inception units of 1024 channels, a width-9 convolution to 96 channels, a linear layer to 32 dimensions.

    Args:
        width: Width D of the hidden state.
        dropout: Share of the hidden state dropped in training, before the first unit.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.units = nn.ModuleList([InceptionUnit(width, UNIT), InceptionUnit(UNIT, UNIT)])
        self.wide = nn.Conv1d(UNIT, WIDE, kernel_size=9, padding=4)
        self.embed = nn.Linear(WIDE, EMBEDDED)

    def embedding(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Embed each token.

        Args:
            hidden_TD: Last hidden states.
            residues_T: True where a residue stands, False at special tokens.
            layout: Borders of the windows, which become rows here: a convolution would reach across them.

        Returns:
            embedding_TE with E = 32.
        """
        mask_B1L = layout.pad(residues_T).unsqueeze(1).to(hidden_TD.dtype)
        x_BDL = layout.pad(self.dropout(hidden_TD)).transpose(1, 2)
        for unit in self.units:
            x_BDL = unit(x_BDL, mask_B1L)
        x_BDL = torch.relu(self.wide(x_BDL * mask_B1L))
        return self.embed(layout.unpad(x_BDL.transpose(1, 2)))


class ConvHead(ConvTrunk):
    """The convolutional head of Yang, Liu & Li (2023), with a linear classifier at the end.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training, before the first unit.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__(width, dropout)
        self.classify = nn.Linear(EMBEDDED, classes)

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give logits_TC; arguments as of `embedding`."""
        return self.classify(self.embedding(hidden_TD, residues_T, layout))


class MetricHead(ConvTrunk):
    """The metric-learning form of that head: the nearest of C learned centroids is the predicted state.

    Embedding and centroid are each centred and then brought to length one: from each vector the mean of its own 32
    numbers is taken. So a logit is tau times the correlation of the two over the 32 dimensions, and neither the scale
    of an embedding nor a number added to all of it changes anything. Centring over residues instead would let a
    residue's logits depend on what else is in its batch. Between vectors of length one the largest cosine is the
    shortest distance, so the argmax is the nearest centroid whatever tau is.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training, before the first unit.
        temperature: tau, what the cosines are multiplied by.
    """

    def __init__(self, width: int, classes: int, dropout: float, temperature: float) -> None:
        super().__init__(width, dropout)
        self.centroids = nn.Parameter(torch.randn(classes, EMBEDDED))
        self.temperature = temperature

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give logits_TC within -tau and tau; arguments as of `embedding`."""
        embedding_TE = self.embedding(hidden_TD, residues_T, layout)
        # In float32: bfloat16 would round a cosine near one by 0.004, and tau makes that 0.07.
        with torch.autocast(hidden_TD.device.type, enabled=False):
            return self.temperature * _directions(embedding_TE.float()) @ _directions(self.centroids).T


def _directions(x_NE: Tensor) -> Tensor:
    """Each vector less the mean of its numbers, at length one."""
    # No shorter than 1e-6, for the gradient of a vector of equal numbers.
    return functional.normalize(x_NE - x_NE.mean(-1, keepdim=True), dim=-1, eps=1e-6)


class LstmHead(nn.Module):
    """One bidirectional LSTM layer and a linear classifier, to compare with.

    Two layers of one direction each, over rows that begin with a window's first residue or, reversed, with its last:
    what fills a row up comes behind all that counts. Special tokens are not read.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.onward = nn.LSTM(width, LSTM_UNITS, batch_first=True)
        self.back = nn.LSTM(width, LSTM_UNITS, batch_first=True)
        self.classify = nn.Linear(2 * LSTM_UNITS, classes)

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give logits_TC; arguments as of `ConvTrunk.embedding`."""
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


class BlockMix(nn.Module):
    """A learned mix of the outputs of several blocks (Peters et al. 2018): gamma * sum_i softmax(w)_i hidden_i.

    Begins with the mean: w = 0, gamma = 1.

    Args:
        blocks: How many there are.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(blocks))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, states: list[Tensor]) -> Tensor:
        """Mix hidden_TD of each block, in float32; the mix has their precision."""
        shares = (self.gamma * self.weights.softmax(0)).unbind()
        mixed_TD = torch.zeros_like(states[0], dtype=torch.float32)
        for share, state_TD in zip(shares, states, strict=True):
            mixed_TD = mixed_TD + share * state_TD.float()
        return mixed_TD.to(states[0].dtype)


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
        y_BDL = functional.hardswish(torch.cat([far_BDL, self.near(near_BDL * mask_B1L)], dim=1))
        # In float32: the norm's weights are, and under autocast its input is not.
        y_BDL = self.dropout(self.norm(y_BDL.transpose(1, 2).float()).transpose(1, 2))
        return x_BDL + y_BDL if self.residual else y_BDL


_KINDS = {"linear": LinearHead, "conv": ConvHead, "lstm": LstmHead}


def pads(settings: HeadSettings) -> bool:
    """Whether the head lays windows out as rows of equal length, and so computes padding."""
    return settings.kind != "linear"


def build(settings: HeadSettings, width: int, classes: int, blocks: int = 1) -> nn.Module:
    """Make the head that the settings name.

    Args:
        settings: Kind, dropout, temperature, and whether blocks are mixed.
        width: Width of the hidden state.
        classes: Number of classes.
        blocks: How many blocks' outputs there are to mix.

    Returns:
        A module: (hidden_TD, residues_T, layout) -> logits_TC; with `mix_blocks` its `mix` is the BlockMix that makes
        the hidden_TD.
    """
    head: nn.Module
    if settings.kind == "metric":
        head = MetricHead(width, classes, settings.dropout, settings.temperature)
    else:
        head = _KINDS[settings.kind](width, classes, settings.dropout)
    if settings.mix_blocks:
        head.mix = BlockMix(blocks)
    return head
