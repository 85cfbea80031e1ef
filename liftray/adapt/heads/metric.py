"""The metric-learning head of Yang, Liu & Li (2023): the nearest of learned centroids is the predicted state."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.adapt.heads.conv import EMBEDDING, ConvTrunk
from liftray.backbone.packed import WindowLayout
from liftray.sections import HeadSettings


class MetricHead(ConvTrunk):
    """The metric-learning form of that head: the nearest of C learned centroids is the predicted state.

    Embedding and centroid are each centred and then brought to length one: from each vector the mean of its own 32
    numbers is taken. So a logit is tau times the correlation of the two over the 32 dimensions. Scaling an embedding,
    or adding a number to all of it, does not change the logit. Centring over residues instead would let a residue's
    logits depend on what else is in its batch. Between vectors of length one the largest cosine is the shortest
    distance, so the argmax is the nearest centroid whatever tau is.

    Args:
        width: Width D of the hidden state.
        classes: Number of classes C.
        dropout: Share of the hidden state dropped in training, before the first unit.
        temperature: tau, what the cosines are multiplied by.
    """

    def __init__(self, width: int, classes: int, dropout: float, temperature: float) -> None:
        super().__init__(width, dropout)
        self.centroids = nn.Parameter(torch.randn(classes, EMBEDDING))
        self.temperature = temperature

    @classmethod
    def build(cls, settings: HeadSettings, width: int, classes: int) -> Self:
        return cls(width, classes, settings.dropout, settings.temperature)

    @classmethod
    def parameter_count(cls, width: int, classes: int) -> int:
        return super().parameter_count(width, classes) + EMBEDDING * classes

    def forward(self, hidden_TD: Tensor, residues_T: Tensor, layout: WindowLayout) -> Tensor:
        """Give logits_TC within -tau and tau."""
        embedding_TZ = self.embedding(hidden_TD, residues_T, layout)
        # In float32: bfloat16 would round a cosine near one by 0.004, and tau makes that 0.07.
        with torch.autocast(hidden_TD.device.type, enabled=False):
            return self.temperature * _directions(embedding_TZ.float()) @ _directions(self.centroids).T


def _directions(x_XZ: Tensor) -> Tensor:
    """Each vector less the mean of its numbers, at length one."""
    # No shorter than 1e-6, for the gradient of a vector of equal numbers.
    return functional.normalize(x_XZ - x_XZ.mean(-1, keepdim=True), dim=-1, eps=1e-6)
