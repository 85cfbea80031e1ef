"""Two models compared on the same chains: the difference, its interval and a p-value.

Invariant: both models see the same drawn chains, and the same counts give the same result for every caller.
Flow: columns per chain -> resampling -> [this] -> evaluate, search, study, track.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from liftray.statistics.resampling import (
    RESAMPLES,
    FloatArray,
    Interval,
    bootstrap_sums,
    percentile_interval,
    swapped_sums,
    with_drawn_runs,
)

# A swap that changes nothing must count as "as extreme" in spite of rounding.
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """One model minus another on the same chains.

    Attributes:
        difference: Score of the one minus that of the other, in the unit of the score.
        ci95: Paired bootstrap over chains; None for a single chain.
        p: Two-sided permutation test that swaps the two predictions of whole chains:
            (1 + as extreme) / (1 + permutations).
    """

    difference: float
    ci95: Interval
    p: float


@dataclass(frozen=True, slots=True)
class SeededDifference(PairedDifference):
    """One arm minus another on the same chains, each arm run with several seeds.

    Attributes:
        seeds_ci95: Hierarchical bootstrap over seeds and chains; None where an arm has one seed.
        seeds_p: Twice the smaller share of its draws on either side of 0.
    """

    seeds_ci95: Interval
    seeds_p: float | None


@dataclass(frozen=True)
class ChainCounts:
    """What one arm scored on each of N chains, in J runs (one a seed).

    Attributes:
        chains: (N,) ids, each once.
        hits_JN: (J, N) what is counted, such as correct residues.
        size_N: (N,) what it is divided by, such as labelled residues; above 0.
    """

    chains: tuple[str, ...]
    hits_JN: FloatArray
    size_N: FloatArray

    @property
    def mean_N(self) -> FloatArray:
        """(N,) hits averaged over runs."""
        return self.hits_JN.mean(axis=0)

    @property
    def score(self) -> float:
        """Pooled over chains, a fraction; the mean over runs."""
        return float(self.mean_N.sum() / self.size_N.sum())

    @property
    def by_seed(self) -> list[float]:
        """(J,) the pooled score of each run."""
        scores: list[float] = (self.hits_JN.sum(axis=1) / self.size_N.sum()).tolist()
        return scores

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the runs' scores (divisor J - 1); None for a single run."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.hits_JN) > 1 else None


def compare_scores(
    chains: Sequence[str],
    one_NK: FloatArray,
    other_NK: FloatArray,
    scores: Callable[[FloatArray], Mapping[str, FloatArray]],
    resamples: int = RESAMPLES,
) -> dict[str, PairedDifference]:
    """Compare two models by every score that follows from sums of columns over chains.

    Args:
        chains: (N,) ids, each once, in the order of the rows.
        one_NK: Columns of the one model, one row a chain.
        other_NK: Columns of the other model for the same chains.
        scores: Gives from (S, K) sums the (S,) values of each score, NaN where there is nothing to score.
        resamples: Bootstrap resamples and permutations.

    Returns:
        Score -> difference; scores that are undefined for either model are left out.
    """

    def differences(one_SK: FloatArray, other_SK: FloatArray) -> dict[str, FloatArray]:
        ours, theirs = scores(one_SK), scores(other_SK)
        return {name: ours[name] - theirs[name] for name in ours}

    one_1K, other_1K = one_NK.sum(axis=0)[None], other_NK.sum(axis=0)[None]
    both_SK = bootstrap_sums(chains, np.concatenate([one_NK, other_NK], axis=1), resamples)
    drawn = differences(*np.split(both_SK, 2, axis=1))
    moved_SK = swapped_sums(chains, other_NK - one_NK, resamples)
    swapped = differences(one_1K + moved_SK, other_1K - moved_SK)
    return {
        name: PairedDifference(
            float(observed),
            percentile_interval(drawn[name], len(chains)),
            _two_sided(swapped[name], float(observed)),
        )
        for name, (observed,) in differences(one_1K, other_1K).items()
        if not np.isnan(observed)
    }


def compare_counts(
    one: ChainCounts, other: ChainCounts, resamples: int = RESAMPLES, *, null: float = 0.0
) -> SeededDifference:
    """Compare two arms by hits over sizes; both must have the same chains in the same order.

    Runs are averaged over seeds first, so `ci95` and `p` hold for these trained models. `seeds_ci95` and `seeds_p`
    answer whether the methods differ with other seeds, too.

    Args:
        one: The arm in question.
        other: What it is compared with.
        resamples: Bootstrap resamples and permutations.
        null: The difference that `p` is about, a fraction. Other than 0, it is subtracted from each chain's
            difference first, and the signs of the remainders are flipped.
    """
    runs, columns = len(one.hits_JN), np.concatenate([one.hits_JN, other.hits_JN, one.size_N[None]])
    sums_SK = bootstrap_sums(one.chains, columns.T, resamples)
    one_SJ, other_SJ = np.split(sums_SK[:, :-1] / sums_SK[:, -1:], [runs], axis=1)
    gap_N = (one.mean_N - other.mean_N - null * one.size_N) / one.size_N.sum()
    moved_S = swapped_sums(one.chains, -gap_N[:, None], resamples)[:, 0]
    seeds_S = None
    if min(runs, len(other.hits_JN)) > 1:
        ours_S, theirs_S = with_drawn_runs(one_SJ, other_SJ)
        seeds_S = ours_S - theirs_S
    return SeededDifference(
        one.score - other.score,
        percentile_interval(one_SJ.mean(axis=1) - other_SJ.mean(axis=1), len(one.chains)),
        _two_sided(gap_N.sum() + 2 * moved_S, float(gap_N.sum())),
        None if seeds_S is None else percentile_interval(seeds_S, len(one.chains)),
        None if seeds_S is None else _share_beyond_zero(seeds_S),
    )


def _two_sided(permuted_S: FloatArray, observed: float) -> float:
    extreme = int((np.abs(permuted_S) >= abs(observed) - _TIE).sum())
    return (1 + extreme) / (1 + len(permuted_S))


def _share_beyond_zero(drawn_S: FloatArray) -> float:
    below, above = int((drawn_S <= 0).sum()), int((drawn_S >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(drawn_S)))
