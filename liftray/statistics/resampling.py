"""Random draws over chains, and the intervals that follow from them.

Invariant: the unit that is drawn is the chain, never the residue, because residues of one chain are not
independent. The draws depend on the number of chains, the number of resamples and a fixed seed alone. Rows are taken
in the order of the chains' ids, so neither the order of a file nor the caller changes a result.
Flow: columns per chain -> [this] -> paired, evaluate, search, study, track.

Intervals are percentile intervals at 95 %. BCa intervals were rejected. Their acceleration comes from a jackknife,
which is degenerate for scores that depend on one chain (macro-F1 with a rare state). They can also leave the range of
the resamples. The percentile rule also serves the paired difference unchanged. On sets of about 20 chains percentile
intervals are slightly too narrow.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float] | None

RESAMPLES = 2000
"""Bootstrap resamples and permutations where the user sets no other number."""

# One seed for every report: an interval must not depend on the seed that a model was trained with.
_SEED = 0
_CHAINS, _SWAPS, _RUNS = 0, 1, 2  # one stream of random numbers for each kind of draw
_LEVELS = (0.025, 0.975)
_BLOCK = 4_000_000  # draws held at once, so that memory does not grow with chains x resamples


def bootstrap_sums(chains: Sequence[str], matrix_NK: FloatArray, resamples: int = RESAMPLES) -> FloatArray:
    """Column sums of N rows drawn with replacement, once for each resample.

    Two calls for the same chains draw the same rows, so that two models can be compared on the same draws.

    Args:
        chains: (N,) ids, each once, in the order of the rows.
        matrix_NK: One row a chain.
        resamples: S.

    Returns:
        (S, K) sums.
    """
    ordered_NK, count, rng = matrix_NK[_order(chains)], len(chains), _generator(_CHAINS)
    blocks = []
    for size in _blocks(resamples, count):
        drawn_SN = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        weights_SN = np.bincount(drawn_SN.ravel(), minlength=size * count).reshape(size, count)
        blocks.append(weights_SN.astype(np.float64) @ ordered_NK)
    return np.concatenate(blocks)


def swapped_sums(
    chains: Sequence[str], difference_NK: FloatArray, permutations: int = RESAMPLES
) -> FloatArray:
    """Sums of the differences of two models over the chains whose predictions are swapped, each with probability 1/2.

    Args:
        chains: (N,) ids, each once, in the order of the rows.
        difference_NK: Rows of the other model minus rows of the one.
        permutations: S.

    Returns:
        (S, K) sums; add them to the sums of the one and subtract them from those of the other.
    """
    ordered_NK, count, rng = difference_NK[_order(chains)], len(chains), _generator(_SWAPS)
    return np.concatenate(
        [
            rng.integers(2, size=(size, count)).astype(np.float64) @ ordered_NK
            for size in _blocks(permutations, count)
        ]
    )


def with_drawn_runs(*scores_SJ: FloatArray) -> list[FloatArray]:
    """Draw the runs of each arm again for each resample of the chains (hierarchical bootstrap).

    Drawing J runs with replacement shows only (J - 1) / J of their variance (Davison & Hinkley, Bootstrap Methods and
    their Application, 1997, section 3.8). Deviations of the runs are therefore stretched by sqrt(J / (J - 1)) first.

    Args:
        scores_SJ: For each arm the score of each run on each resample of the chains; J is 2 or more.

    Returns:
        For each arm (S,) mean scores of the drawn runs.
    """
    rng = _generator(_RUNS)
    means = []
    for each_SJ in scores_SJ:
        resamples, runs = each_SJ.shape
        mean_S1 = each_SJ.mean(axis=1, keepdims=True)
        stretched_SJ = mean_S1 + (each_SJ - mean_S1) * np.sqrt(runs / (runs - 1))
        drawn_SJ = rng.integers(runs, size=(resamples, runs))
        means.append(np.take_along_axis(stretched_SJ, drawn_SJ, axis=1).mean(axis=1))
    return means


def percentile_interval(values_S: FloatArray, num_chains: int) -> Interval:
    """The 95 % interval of resampled values.

    Args:
        values_S: (S,) values; NaN where a resample has nothing to score, which does not count.
        num_chains: Chains that were drawn from.

    Returns:
        (low, high); None for a single chain, which carries no information about spread.
    """
    defined = values_S[~np.isnan(values_S)]
    if num_chains < 2 or not defined.size:
        return None
    low, high = np.quantile(defined, _LEVELS)
    return float(low), float(high)


def _order(chains: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array(sorted(range(len(chains)), key=chains.__getitem__), dtype=np.int64)


def _generator(stream: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, stream])


def _blocks(total: int, count: int) -> list[int]:
    size = max(1, _BLOCK // max(1, count))
    return [min(size, total - start) for start in range(0, total, size)]
