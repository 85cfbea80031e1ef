"""The statistics of a study: how sure an arm's score is, and whether two arms differ.

Invariant: a chain's score is averaged over an arm's seeds first, and two arms are always compared on the same drawn
chains. Flow: outcomes -> statistics -> [this] -> claims, findings.

Two questions are answered side by side. Do these trained models differ on chains like these? That is the paired
bootstrap and the permutation test over chains, seeds held fixed. Would the methods differ with other seeds, too? That
is the hierarchical bootstrap: it draws the chains (the same for both arms) and, for each arm separately, the seeds.
With few seeds the width of that second interval is itself uncertain.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from liftray.errors import DataError
from liftray.statistics.paired import ChainCounts, SeededDifference, compare_counts
from liftray.statistics.resampling import RESAMPLES, Interval, bootstrap_sums, percentile_interval


def intervals(counts: Mapping[str, ChainCounts], *, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """95 % percentile intervals of an arm's mean scores over its seeds, by a bootstrap over chains.

    Args:
        counts: Score -> counts, all of the same chains.
        resamples: Bootstrap resamples.
    """
    if not counts:
        return {}
    chains = next(iter(counts.values())).chains
    matrix_NK = np.stack([one for each in counts.values() for one in (each.mean_N, each.size_N)], axis=1)
    sums_SK = bootstrap_sums(chains, matrix_NK, resamples)
    ratio_SK = sums_SK[:, ::2] / sums_SK[:, 1::2]
    return {name: percentile_interval(ratio_SK[:, at], len(chains)) for at, name in enumerate(counts)}


def compare(
    one: ChainCounts, other: ChainCounts, *, resamples: int = RESAMPLES, null: float = 0.0
) -> SeededDifference:
    """Compare two arms.

    Args:
        one: The arm in question.
        other: What it is compared with.
        resamples: Bootstrap resamples and permutations.
        null: The difference that the p-value is about, a fraction.

    Raises:
        DataError: The arms were not scored on the same residues of the same chains.
    """
    if one.chains != other.chains or not np.array_equal(one.size_N, other.size_N):
        raise DataError("two arms were scored on different chains or labels", remedy="use another run.dir")
    return compare_counts(one, other, resamples, null=null)


def as_row(compared: SeededDifference) -> dict[str, Any]:
    """A comparison in the form that JSON needs."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(compared).items()
    }
