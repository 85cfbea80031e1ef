"""The scores of one set in the form of `metrics.json`: each with its interval, by state, by length, by confidence.

Invariant: all figures follow from the same per-chain columns, so they count the same residues. Flow: PredictedSet ->
metrics, comparison -> [score_set] -> evaluation_report, page, MLflow, bundle.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.comparison import intervals, point_scores
from liftray.evaluate.metrics import SetStatistics, accuracy_names, collect
from liftray.statistics.resampling import RESAMPLES, Interval

LENGTHS = (1, 100, 200, 300, 512)
"""Shortest chain of each class of length; chains of 512 residues and more are predicted in windows by ESM-like
backbones."""


def score_set(predicted: PredictedSet, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Score one set, each score with its interval.

    Args:
        predicted: All chains of the set with labels and predictions.
        resamples: Number of bootstrap resamples.

    Returns:
        JSON-ready: `task`, `ss3_map`, `num_chains` (all), `num_scored_chains` (with a label), `num_residues`
        (labelled, so scored); every score of `metrics` as a fraction (`nll` in nats) and its `..._ci95` [low, high]
        (null for a single chain); `confusion` {`states`, `counts` (rows true, columns predicted)}; `per_state` {state:
        precision, recall, f1, mcc, sov99, sov_refine, each with interval, `true`, `predicted` residue counts};
        `sov99_per_state`, `sov_refine_per_state` for three states; `absent_states`; `reliability` [{`confidence`,
        `accuracy`, `residues`}] by bin of confidence; `per_length` [{`from`, `to` (null: no end), `num_chains`,
        `num_residues`, scores}] of the classes that have chains.

    Raises:
        DataError: No labelled residue.
    """
    statistics = collect(predicted)
    values = point_scores(statistics)
    bounds = intervals(statistics, resamples=resamples)
    result: dict[str, Any] = {
        "task": predicted.task,
        "ss3_map": predicted.ss3_map,
        "num_chains": len(predicted.chains),
        "num_scored_chains": int(statistics.scored_N.sum()),
        "num_residues": int(statistics.columns["labelled"].sum()),
    }
    result |= {
        name: value for score in values if ":" not in score for name, value in _pair(score, values, bounds)
    }
    result["per_state"] = _by_state(predicted.task, values, bounds, statistics)
    for score in ("sov99", "sov_refine"):
        result[f"{score}_per_state"] = {
            state: dict(_pair(f"{score}:{state}", values, bounds)) for state in STATES["ss3"]
        }
    result["absent_states"] = [
        state for state, row in result["per_state"].items() if not row["true"] and not row["predicted"]
    ]
    result["confusion"] = {"states": STATES[predicted.task], "counts": _confusion(statistics).tolist()}
    result["reliability"] = _reliability(statistics)
    result["per_length"] = _by_length(statistics, resamples)
    return result


def _pair(
    score: str, values: dict[str, float], bounds: dict[str, Interval], name: str | None = None
) -> list[tuple[str, Any]]:
    """A score and its interval under their JSON names; `sov99:H` is called `sov99`."""
    name, value, interval = name or score.partition(":")[0], values[score], bounds[score]
    return [
        (name, None if np.isnan(value) else value),
        (f"{name}_ci95", None if interval is None else list(interval)),
    ]


def _by_state(
    task: str, values: dict[str, float], bounds: dict[str, Interval], statistics: SetStatistics
) -> dict[str, dict[str, Any]]:
    confusion_CC = _confusion(statistics)
    rows: dict[str, dict[str, Any]] = {}
    for column, state in enumerate(STATES[task]):
        row = rows[state] = {}
        for score in ("precision", "recall", "f1", "mcc"):
            row |= dict(_pair(f"{score}:{state}", values, bounds))
        for score in ("sov99", "sov_refine"):
            row |= dict(_pair(f"state_{score}:{state}", values, bounds, score))
        row["true"], row["predicted"] = int(confusion_CC[column].sum()), int(confusion_CC[:, column].sum())
    return rows


def _confusion(statistics: SetStatistics) -> npt.NDArray[np.int64]:
    """(C, C) counts, rows true, columns predicted."""
    states = len(STATES[statistics.task])
    return statistics.columns["confusion"].sum(axis=0).astype(np.int64).reshape(states, states)


def _reliability(statistics: SetStatistics) -> list[dict[str, Any]]:
    sums = (statistics.columns[f"bin_{name}"].sum(axis=0) for name in ("confidence", "correct", "residues"))
    return [
        {"confidence": confidence / residues, "accuracy": correct / residues, "residues": int(residues)}
        for confidence, correct, residues in zip(*(column.tolist() for column in sums), strict=True)
        if residues
    ]


def _by_length(statistics: SetStatistics, resamples: int) -> list[dict[str, Any]]:
    """Scores of the classes of length, with intervals from the chains of the class alone."""
    rows = []
    for shortest, following in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        inside_N = statistics.scored_N & (statistics.lengths_N >= shortest)
        if following is not None:
            inside_N &= statistics.lengths_N < following
        if not inside_N.any():
            continue
        chains = statistics.subset(inside_N)
        values, bounds = point_scores(chains), intervals(chains, resamples=resamples)
        row: dict[str, Any] = {
            "from": shortest,
            "to": None if following is None else following - 1,
            "num_chains": len(chains.ids),
            "num_residues": int(chains.columns["labelled"].sum()),
        }
        for score in (*accuracy_names(statistics.task), "macro_f1", "mcc", "sov99", "sov_refine"):
            row |= dict(_pair(score, values, bounds))
        rows.append(row)
    return rows
