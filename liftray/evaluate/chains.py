"""The predictions that are scored: every residue of every chain, with its label.

Invariant: a set has a probability for each class and each residue, labelled or not, in the alphabet of its
task; only labelled residues are scored. Flow: windows and batches -> stitched chains -> [this] -> metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX, STATES, Ss3Map, check_alphabet, map_codes, map_probabilities
from liftray.errors import DataError


@dataclass(frozen=True, slots=True)
class ScoredChain:
    """One chain with its labels and its predictions.

    Attributes:
        id: The chain's name, unique within its set.
        sequence: One-letter residues, (L,) characters.
        true_L: (L,) class codes in the alphabet of the task, IGNORE_INDEX where there is no label.
        probabilities_LC: (L, C) class probabilities, one row for every residue.
    """

    id: str
    sequence: str
    true_L: npt.NDArray[np.int64]
    probabilities_LC: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PredictedSet:
    """All chains of one data set as one model predicts them.

    Attributes:
        chains: The chains, each id once.
        task: Alphabet of labels and probabilities.
        ss3_map: How P counts at three states, `dssp` (coil) or `lift` (helix).

    Raises:
        DataError: No chain, a repeated id, arrays of the wrong shape, a label outside the alphabet, or a
            probability that is not finite.
    """

    chains: Sequence[ScoredChain]
    task: str
    ss3_map: Ss3Map = "dssp"

    def __post_init__(self) -> None:
        """Refuse chains that cannot be scored."""
        check_alphabet(self.task)
        if not self.chains:
            raise DataError(
                "a set without chains cannot be scored", remedy="give at least one labelled chain"
            )
        seen: set[str] = set()
        for chain in self.chains:
            if chain.id in seen:
                raise DataError(f"chain {chain.id!r} occurs twice", remedy="predict each chain once")
            seen.add(chain.id)
            _check_chain(chain, len(STATES[self.task]))

    @cached_property
    def true_T(self) -> npt.NDArray[np.int64]:
        """(T,) labels of all chains, one after the other."""
        return np.concatenate([chain.true_L for chain in self.chains])

    @cached_property
    def probabilities_TC(self) -> npt.NDArray[np.float32]:
        """(T, C) probabilities of all chains, one after the other."""
        return np.concatenate([chain.probabilities_LC for chain in self.chains])

    @cached_property
    def chain_T(self) -> npt.NDArray[np.int64]:
        """(T,) which chain each residue is from, ascending from 0."""
        return np.repeat(np.arange(len(self.chains)), [len(chain.sequence) for chain in self.chains])

    def mapped(self, task: str) -> "PredictedSet":
        """The same predictions in a poorer alphabet: labels mapped, probabilities summed.

        Raises:
            DataError: `task` is richer than the set's.
        """
        if task == self.task:
            return self
        chains = [
            replace(
                chain,
                true_L=map_codes(chain.true_L, self.task, task, self.ss3_map),
                probabilities_LC=map_probabilities(chain.probabilities_LC, self.task, task, self.ss3_map),
            )
            for chain in self.chains
        ]
        return PredictedSet(chains, task, self.ss3_map)


def _check_chain(chain: ScoredChain, num_classes: int) -> None:
    length = len(chain.sequence)
    for name, shape, expected in (
        ("labels", chain.true_L.shape, (length,)),
        ("probabilities", chain.probabilities_LC.shape, (length, num_classes)),
    ):
        if shape != expected:
            raise DataError(
                f"{name} of shape {shape} where {expected} is needed", where=f"chain {chain.id!r}"
            )
    if not np.isfinite(chain.probabilities_LC).all():
        raise DataError("a probability is not a finite number", where=f"chain {chain.id!r}")
    outside = (chain.true_L != IGNORE_INDEX) & ((chain.true_L < 0) | (chain.true_L >= num_classes))
    if outside.any():
        code = int(chain.true_L[outside][0])
        raise DataError(f"label code {code} is outside 0..{num_classes - 1}", where=f"chain {chain.id!r}")
