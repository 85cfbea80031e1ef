"""Several trained models as one: their probabilities' mean.

Invariant: all members read a chain in the same way (alphabet, windows, tokens), so that their probabilities are for the
same residues and states. Weights that are bitwise equal are in memory once. Flow: bundle -> [this] -> predictor, which
uses it like a tagger.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liftray.adapt.tagger import Tagger
from liftray.backbone.packed import WindowLayout
from liftray.backbone.tokens import TokenTable
from liftray.errors import BundleError


class Ensemble(nn.Module):
    """Members that predict together.

    Args:
        members: The models, in evaluation mode.
        temperatures: The temperature of each.

    Raises:
        BundleError: They do not read chains in the same way.
    """

    def __init__(self, members: Sequence[Tagger], temperatures: Sequence[float]) -> None:
        super().__init__()
        ways = {(one.alphabet, one.ss3_map, one.max_length, one.backbone.resolved.digest) for one in members}
        if len(ways) != 1:
            raise BundleError(
                "the members differ in task, ss3_map, max_length or backbone",
                remedy="merge models that agree",
            )
        self.members = nn.ModuleList(members)  # goes to the device with the ensemble
        self._members = tuple(members)
        self._temperatures = tuple(temperatures)

    @property
    def alphabet(self) -> str:
        """Alphabet of the classes."""
        return self._members[0].alphabet

    @property
    def ss3_map(self) -> str:
        """How 9 states become 3."""
        return self._members[0].ss3_map

    @property
    def max_length(self) -> int:
        """Widest window, in residues."""
        return self._members[0].max_length

    @property
    def tokens(self) -> TokenTable:
        """The token table of the backbone that all have in common."""
        return self._members[0].tokens

    def logits(self, tokens_T: Tensor, layout: WindowLayout) -> Tensor:
        """Logarithms of the mean probabilities: their softmax is that mean.

        Args:
            tokens_T: Token ids of packed windows.
            layout: Borders of the windows.

        Returns:
            logits_TC in float32.
        """
        logs = [
            torch.log_softmax(member.logits(tokens_T, layout).float() / temperature, dim=-1)
            for member, temperature in zip(self._members, self._temperatures, strict=True)
        ]
        return torch.stack(logs).logsumexp(0) - math.log(len(logs))


def share_weights(kept: nn.Module, other: nn.Module) -> None:
    """Let a module hold the parameters of another one where name and every bit are the same: a frozen backbone's.

    Args:
        kept: The module whose parameters stay.
        other: The module that gives up its own.
    """
    known = dict(kept.named_parameters(remove_duplicate=False))
    for name, parameter in list(other.named_parameters(remove_duplicate=False)):
        same = known.get(name)
        if same is not None and same.dtype == parameter.dtype and torch.equal(same, parameter):
            owner, _, own = name.rpartition(".")
            setattr(other.get_submodule(owner), own, same)
