"""How sure a score is: intervals over chains, and two models compared on the same chains.

Invariant: the chain is the unit that is drawn, never the residue, because residues of one chain are not
independent; the same seed gives the same draws. Flow: PredictedSet -> metrics -> [this] -> report, gates.

Intervals are percentile intervals at 95 %. BCa was weighed and left: its acceleration comes from a jackknife
that is degenerate for scores which hang on one chain (macro-F1 with a rare state), it can then leave the
range of the resamples, and the percentile rule also serves the paired difference unchanged. On sets of about
20 chains percentile intervals are slightly too narrow. One chain tells nothing about spread: its interval is
None (null in JSON).

Where a score is compared on several sets, one small p-value among many is expected by chance: `holm` corrects for
the number of sets (Holm, Scandinavian Journal of Statistics 6:65, 1979).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.metrics import Scores, SetStatistics, collect

RESAMPLES = 2000
_LEVELS = (0.025, 0.975)
_BLOCK = 4_000_000  # draws held at once, so that memory does not grow with chains x resamples
_UNPAIRED = frozenset({"ece"})
TIE = 1e-12  # a swap that changes nothing must count as "as extreme" in spite of rounding

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float] | None


def point_scores(statistics: SetStatistics) -> dict[str, float]:
    """The scores of the whole set, NaN where there was nothing to score."""
    scores = statistics.scores(statistics.matrix_NK.sum(axis=0, keepdims=True))
    return {name: float(values[0]) for name, values in scores.items()}


def intervals(statistics: SetStatistics, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """95 % percentile interval of every score by resampling labelled chains with replacement.

    Resamples in which a score is undefined (a state's SOV where no drawn chain has it) do not count for it.
    """
    matrix_NK = statistics.matrix_NK[statistics.scored_N]
    resampled = statistics.scores(resampled_sums(matrix_NK, np.random.default_rng(seed), resamples))
    return {name: percentile_interval(values, len(matrix_NK)) for name, values in resampled.items()}


def paired(
    a: PredictedSet, b: PredictedSet, score: str, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Compare two predictions of the same chains by one score; see `compare`.

    Raises:
        DataError: The score is not one that both predictions have, or the chains differ.
    """
    found = compare(a, b, seed=seed, resamples=resamples)
    if score not in found:
        raise DataError(
            f"score {score!r} is not common to both predictions", remedy=f"use one of {', '.join(found)}"
        )
    return found[score]


def compare(
    a: PredictedSet, b: PredictedSet, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Compare two predictions of the same chains by every score that both have.

    The interval is a paired bootstrap (both sides see the same drawn chains). The p-value is that of a
    two-sided permutation test that swaps the two predictions of whole chains at random:
    (1 + as extreme) / (1 + permutations). `ece` is left out: the two predictions have bins of their own, so that
    swapped chains would be counted in bins that are not theirs; `nll` and `brier` tell calibration as well.

    Args:
        a: One prediction.
        b: The other one; its chains may stand in another order.
        seed: Of both resamplings.
        resamples: Number of bootstrap resamples and of permutations.

    Returns:
        Score -> {`difference` (a minus b), `ci95` ([low, high], null for a single chain), `p`}, JSON-ready.

    Raises:
        DataError: Chains, labels or the map to three states differ between the two.
    """
    a, b = _aligned(a, b)
    one, two = collect(a), collect(b)
    matrix_a_NK, matrix_b_NK = one.matrix_NK[one.scored_N], two.matrix_NK[two.scored_N]
    observed = _differences(one, matrix_a_NK.sum(axis=0)[None], matrix_b_NK.sum(axis=0)[None])
    both_NK = np.concatenate([matrix_a_NK, matrix_b_NK], axis=1)
    drawn_a_RK, drawn_b_RK = np.split(
        resampled_sums(both_NK, np.random.default_rng([seed, 0]), resamples), 2, axis=1
    )
    drawn = _differences(one, drawn_a_RK, drawn_b_RK)
    moved_RK = swapped_sums(matrix_b_NK - matrix_a_NK, np.random.default_rng([seed, 1]), resamples)
    swapped = _differences(one, matrix_a_NK.sum(axis=0) + moved_RK, matrix_b_NK.sum(axis=0) - moved_RK)
    found: dict[str, dict[str, Any]] = {}
    for name, (difference,) in observed.items():
        if np.isnan(difference) or name in _UNPAIRED:
            continue
        extreme = int((np.abs(swapped[name]) >= abs(difference) - TIE).sum())
        found[name] = {
            "difference": float(difference),
            "ci95": _as_json(percentile_interval(drawn[name], len(matrix_a_NK))),
            "p": (1 + extreme) / (1 + resamples),
        }
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one question asked of several sets (Holm's step-down method).

    The i-th smallest of m is multiplied by m - i + 1, never falls below the one before it, and is at most 1. Below
    0.05, the difference on that set is significant while the chance of any false claim among the sets is 5 %,
    however the sets depend on each other.

    Args:
        p_values: One for each set.

    Returns:
        The adjusted ones, in the order given.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _aligned(a: PredictedSet, b: PredictedSet) -> tuple[PredictedSet, PredictedSet]:
    """Bring both to the poorer task of the two, and the chains of `b` into the order of `a`."""
    if a.ss3_map != b.ss3_map:
        raise DataError(
            f"predictions by different ss3 maps ({a.ss3_map}, {b.ss3_map}) cannot be compared",
            remedy="score both with the same ss3_map",
        )
    task = min(a.task, b.task, key=lambda name: len(STATES[name]))
    a, b = a.mapped(task), b.mapped(task)
    chains_b = {chain.id: chain for chain in b.chains}
    only = {chain.id for chain in a.chains} ^ chains_b.keys()
    if only:
        raise DataError(f"{len(only)} chains are in one prediction only, such as {min(only)!r}")
    ordered = [chains_b[chain.id] for chain in a.chains]
    for one, two in zip(a.chains, ordered, strict=True):
        if one.sequence != two.sequence or not np.array_equal(one.true_L, two.true_L):
            raise DataError(
                "the two predictions have different residues or labels", where=f"chain {one.id!r}"
            )
    return a, PredictedSet(ordered, task, b.ss3_map)


def _differences(layout: SetStatistics, sums_a_RK: FloatArray, sums_b_RK: FloatArray) -> Scores:
    a, b = layout.scores(sums_a_RK), layout.scores(sums_b_RK)
    return {name: a[name] - b[name] for name in a}


def resampled_sums(matrix_NK: FloatArray, rng: np.random.Generator, resamples: int) -> FloatArray:
    """(R, K) column sums of N rows drawn with replacement, R times.

    Args:
        matrix_NK: A row a chain. The draws depend on N and on the generator alone, so equal generators draw the same
            chains of two matrices.
        rng: Where chance comes from.
        resamples: R.
    """
    count = len(matrix_NK)
    blocks = []
    for size in _blocks(resamples, count):
        drawn_RN = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        weights_RN = np.bincount(drawn_RN.ravel(), minlength=size * count).reshape(size, count)
        blocks.append(weights_RN.astype(np.float64) @ matrix_NK)
    return np.concatenate(blocks)


def swapped_sums(difference_NK: FloatArray, rng: np.random.Generator, permutations: int) -> FloatArray:
    """(R, K) sums of the rows of b minus a over the chains swapped, each with probability 1/2.

    Args:
        difference_NK: Rows of b minus rows of a.
        rng: Where chance comes from.
        permutations: R.
    """
    count = len(difference_NK)
    return np.concatenate(
        [
            rng.integers(2, size=(size, count)).astype(float) @ difference_NK
            for size in _blocks(permutations, count)
        ]
    )


def _blocks(total: int, count: int) -> list[int]:
    size = max(1, _BLOCK // count)
    return [min(size, total - start) for start in range(0, total, size)]


def percentile_interval(values_R: FloatArray, num_chains: int) -> Interval:
    """The 95 % interval of R resampled values; None for a single chain, which tells nothing about spread."""
    defined = values_R[~np.isnan(values_R)]
    if num_chains < 2 or not defined.size:
        return None
    low, high = np.quantile(defined, _LEVELS)
    return float(low), float(high)


def _as_json(interval: Interval) -> list[float] | None:
    return None if interval is None else list(interval)
