"""How sure the scores of a set are, and how two models differ on the same chains.

Invariant: intervals and p-values come from `statistics`, over labelled chains alone.
Flow: PredictedSet -> metrics -> [this] -> scores, evaluate_job, gates.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from liftray.data.labels import STATES
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.metrics import SetStatistics, collect
from liftray.statistics.paired import compare_scores
from liftray.statistics.resampling import RESAMPLES, Interval, bootstrap_sums, percentile_interval

_UNPAIRED = frozenset({"ece"})


def point_scores(statistics: SetStatistics) -> dict[str, float]:
    """The scores of the whole set, NaN where there was nothing to score."""
    scores = statistics.scores(statistics.matrix_NK.sum(axis=0, keepdims=True))
    return {name: float(values[0]) for name, values in scores.items()}


def intervals(statistics: SetStatistics, *, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """95 % percentile interval of every score by resampling labelled chains with replacement.

    Resamples in which a score is undefined (a state's SOV where no drawn chain has it) do not count for it.

    Args:
        statistics: Counts of the set.
        resamples: Bootstrap resamples.

    Returns:
        Score -> interval; None for a set of one labelled chain.
    """
    labelled = statistics.subset(statistics.scored_N)
    sums_SK = bootstrap_sums(labelled.ids, labelled.matrix_NK, resamples)
    scores = labelled.scores(sums_SK)
    return {name: percentile_interval(values, len(labelled.ids)) for name, values in scores.items()}


def paired(
    one: PredictedSet, other: PredictedSet, score: str, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Compare two predictions of the same chains by one score; see `compare`.

    Raises:
        DataError: The score is not one that both predictions have, or the chains differ.
    """
    differences = compare(one, other, resamples=resamples)
    if score not in differences:
        raise DataError(
            f"score {score!r} is not common to both predictions",
            remedy=f"use one of {', '.join(differences)}",
        )
    return differences[score]


def compare(
    one: PredictedSet, other: PredictedSet, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Compare two predictions of the same chains by every score that both have.

    `ece` is left out: each prediction has its own bins, so swapped chains would be counted in the wrong bins. `nll` and
    `brier` compare calibration as well.

    Args:
        one: One prediction.
        other: Another prediction of the same chains, in any order.
        resamples: Number of bootstrap resamples and of permutations.

    Returns:
        Score -> {`difference` (one minus other), `ci95` ([low, high], null for a single chain), `p`}, JSON-ready.

    Raises:
        DataError: Chains, labels or the map to three states differ between the two.
    """
    one, other = _aligned(one, other)
    ours, theirs = collect(one), collect(other)
    labelled = ours.subset(ours.scored_N)
    differences = compare_scores(
        labelled.ids,
        labelled.matrix_NK,
        theirs.matrix_NK[theirs.scored_N],
        labelled.scores,
        resamples,
    )
    return {name: _as_json(asdict(row)) for name, row in differences.items() if name not in _UNPAIRED}


def _aligned(one: PredictedSet, other: PredictedSet) -> tuple[PredictedSet, PredictedSet]:
    """Bring both to the poorer task of the two, and the chains of the other into the order of the one."""
    if one.ss3_map != other.ss3_map:
        raise DataError(
            f"predictions by different ss3 maps ({one.ss3_map}, {other.ss3_map}) cannot be compared",
            remedy="score both with the same ss3_map",
        )
    task = min(one.task, other.task, key=lambda name: len(STATES[name]))
    one, other = one.mapped(task), other.mapped(task)
    chains = {chain.id: chain for chain in other.chains}
    unmatched = {chain.id for chain in one.chains} ^ chains.keys()
    if unmatched:
        raise DataError(f"{len(unmatched)} chains are in one prediction only, such as {min(unmatched)!r}")
    ordered = [chains[chain.id] for chain in one.chains]
    for ours, theirs in zip(one.chains, ordered, strict=True):
        if ours.sequence != theirs.sequence or not np.array_equal(ours.true_L, theirs.true_L):
            raise DataError(
                "the two predictions have different residues or labels", where=f"chain {ours.id!r}"
            )
    return one, PredictedSet(ordered, task, other.ss3_map)


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ci95": None if row["ci95"] is None else list(row["ci95"])}
