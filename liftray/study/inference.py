"""The statistics of a study: how sure an arm's score is, and whether two arms differ.

Invariant: the chain is the unit that is drawn; a chain's score is averaged over an arm's seeds first, and two arms are
always compared on the same drawn chains. Pure NumPy. Flow: outcomes -> [this] -> claims, findings.

Two questions are answered side by side. Do these trained models differ on chains like these? That is the paired
bootstrap and the permutation test over chains, seeds held fixed. Would the methods differ with other seeds, too? That
is the hierarchical bootstrap, which draws the chains (the same for both arms) and, for each arm on its own, the seeds.
With S seeds, drawing S of them with replacement shows only (S - 1) / S of their variance (Davison & Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8): deviations of seeds are stretched by sqrt(S / (S - 1)) before, so
that the interval has the right width on average. Few seeds leave that width itself unsure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.errors import DataError
from liftray.evaluate.bootstrap import TIE, Interval, percentile_interval, resampled_sums, swapped_sums

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One score of one arm on one set of N chains, by S seeds.

    Attributes:
        chains: (N,) their names.
        hits_SN: (S, N) what is counted, such as correct residues.
        size_N: (N,) what it is divided by, such as labelled residues; above 0.
    """

    chains: tuple[str, ...]
    hits_SN: FloatArray
    size_N: FloatArray

    @property
    def mean_N(self) -> FloatArray:
        """(N,) hits averaged over seeds."""
        return self.hits_SN.mean(axis=0)

    @property
    def score(self) -> float:
        """Pooled over chains, a fraction; the mean over seeds."""
        return float(self.mean_N.sum() / self.size_N.sum())

    @property
    def by_seed(self) -> list[float]:
        """(S,) the pooled score of each seed."""
        found: list[float] = (self.hits_SN.sum(axis=1) / self.size_N.sum()).tolist()
        return found

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the seeds' scores (divisor S - 1); None for a single seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.hits_SN) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """One arm against another on the same chains.

    Attributes:
        difference: Score of the one minus that of the other, a fraction.
        ci95: Paired bootstrap over chains, seeds held fixed; None for a single chain.
        p: Two-sided permutation test that swaps the arms' predictions of whole chains; against a null other than 0,
            after that was taken from each chain's difference (a sign-flip test of the remainder).
        seeds_ci95: Hierarchical bootstrap over seeds and chains; None where an arm has one seed.
        seeds_p: Twice the smaller share of its draws on either side of 0.
    """

    difference: float
    ci95: Interval
    p: float
    seeds_ci95: Interval
    seeds_p: float | None

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}


def intervals(samples: Mapping[str, Sample], *, seed: int, resamples: int) -> dict[str, Interval]:
    """95 % percentile intervals of an arm's mean scores over its seeds, by a bootstrap over chains.

    Args:
        samples: Score -> sample, all of the same chains.
        seed: Of the draws.
        resamples: How many.
    """
    if not samples:
        return {}
    matrix_NK = np.stack(
        [one for sample in samples.values() for one in (sample.mean_N, sample.size_N)], axis=1
    )
    drawn_RK = resampled_sums(matrix_NK, np.random.default_rng([seed, 0]), resamples)
    ratio_RK = drawn_RK[:, ::2] / drawn_RK[:, 1::2]
    return {name: percentile_interval(ratio_RK[:, at], len(matrix_NK)) for at, name in enumerate(samples)}


def compare(one: Sample, other: Sample, *, seed: int, resamples: int, null: float = 0.0) -> Comparison:
    """Compare two arms.

    Args:
        one: The arm that is asked about.
        other: What it is compared with.
        seed: Of all resampling; equal seeds draw the same chains whatever the arms.
        resamples: Draws and permutations.
        null: The difference that the p-value is about, a fraction.

    Raises:
        DataError: The arms were not scored on the same residues of the same chains.
    """
    if one.chains != other.chains or not np.array_equal(one.size_N, other.size_N):
        raise DataError("two arms were scored on different chains or labels", remedy="use another run.dir")
    size = len(one.chains)
    columns = np.concatenate([one.hits_SN, other.hits_SN, one.size_N[None]])
    drawn_RK = resampled_sums(columns.T, np.random.default_rng([seed, 0]), resamples)
    seeds = len(one.hits_SN)
    ratio_RS, other_RS = np.split(drawn_RK[:, :-1] / drawn_RK[:, -1:], [seeds], axis=1)
    drawn_R = ratio_RS.mean(axis=1) - other_RS.mean(axis=1)
    gap_N = (one.mean_N - other.mean_N - null * one.size_N) / one.size_N.sum()
    moved_R = swapped_sums(-gap_N[:, None], np.random.default_rng([seed, 1]), resamples)[:, 0]
    extreme = int((np.abs(gap_N.sum() + 2 * moved_R) >= abs(gap_N.sum()) - TIE).sum())
    with_seeds_R = _with_seeds(ratio_RS, other_RS, np.random.default_rng([seed, 2]))
    return Comparison(
        one.score - other.score,
        percentile_interval(drawn_R, size),
        (1 + extreme) / (1 + resamples),
        None if with_seeds_R is None else percentile_interval(with_seeds_R, size),
        None if with_seeds_R is None else _two_sided(with_seeds_R),
    )


def _with_seeds(one_RS: FloatArray, other_RS: FloatArray, rng: np.random.Generator) -> FloatArray | None:
    """(R,) differences with seeds drawn anew for each draw of chains."""
    if min(one_RS.shape[1], other_RS.shape[1]) < 2:
        return None
    return _drawn_seeds(one_RS, rng) - _drawn_seeds(other_RS, rng)


def _drawn_seeds(ratio_RS: FloatArray, rng: np.random.Generator) -> FloatArray:
    resamples, seeds = ratio_RS.shape
    mean_R1 = ratio_RS.mean(axis=1, keepdims=True)
    stretched_RS = mean_R1 + (ratio_RS - mean_R1) * np.sqrt(seeds / (seeds - 1))
    drawn_RS = rng.integers(seeds, size=(resamples, seeds))
    drawn: FloatArray = np.take_along_axis(stretched_RS, drawn_RS, axis=1).mean(axis=1)
    return drawn


def _two_sided(drawn_R: FloatArray) -> float:
    below, above = int((drawn_R <= 0).sum()), int((drawn_R >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(drawn_R)))
