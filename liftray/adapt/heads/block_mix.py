"""The mix of several blocks' outputs that any head can read."""

import torch
from torch import Tensor, nn

from liftray.adapt.activation_bytes import FLOAT32, ForwardPass


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

    @staticmethod
    def parameter_count(blocks: int) -> int:
        """A weight for each block, and a factor."""
        return blocks + 1

    @staticmethod
    def activation_bytes(blocks: int, forward: ForwardPass, norm: int) -> float:
        """Bytes a token that the mix keeps for the backward pass.

        Args:
            blocks: How many there are.
            forward: Sizes, precision and device.
            norm: Bytes that a final norm keeps of a number: there is one for each block.
        """
        return (blocks * FLOAT32 + (blocks - 1) * norm) * forward.size.width

    def forward(self, states: list[Tensor]) -> Tensor:
        """Mix hidden_TD of each block, in float32; the mix has their precision."""
        shares = (self.gamma * self.weights.softmax(0)).unbind()
        mixed_TD = torch.zeros_like(states[0], dtype=torch.float32)
        for share, state_TD in zip(shares, states, strict=True):
            mixed_TD = mixed_TD + share * state_TD.float()
        return mixed_TD.to(states[0].dtype)
