"""The objectives of a search, and which trials no other trial beats in all of them at once.

Invariant: a trial is on the front if and only if no other finished trial is at least as good in every objective and
better in one. Pure. Flow: ledger -> [this] -> proposals, tables, plot.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liftray.reporting import tables
from liftray.search.ledger import Trial


@dataclass(frozen=True)
class Objective:
    """One quantity that trials are compared by.

    Attributes:
        name: As in `search.objectives`.
        metric: Key in a trial's metrics.
        title: With its unit, for a table.
        more: Whether more is better.
    """

    name: str
    metric: str
    title: str
    more: bool

    def of(self, trial: Trial) -> float | None:
        """A trial's value, in the metric's own unit; None where it is not known."""
        return trial.metrics.get(self.metric)

    def text(self, value: float | None) -> str:
        """A value for people: scores in per cent, a dash where there is none."""
        if value is None:
            return tables.DASH
        if self.more:
            return tables.percent(value)
        return f"{value:,.0f}" if self.name == "parameters" else f"{value:.2f}"


OBJECTIVES = {
    one.name: one
    for one in (
        *(Objective(q, f"valid/{q}", f"validation {q.upper()} (%)", True) for q in ("q3", "q8", "q9")),
        Objective("parameters", "train/parameters", "trained parameters", False),
        Objective("seconds_per_epoch", "seconds_per_epoch", "seconds an epoch", False),
        Objective("peak_memory", "peak_memory_gb", "peak memory (GB)", False),
    )
}


def measured(history: Sequence[Mapping[str, Any]], best_epoch: int) -> dict[str, float]:
    """A trial's metrics: those of its best epoch, the median seconds of its epochs and the peak of its memory."""
    if not history:
        return {}
    best = next((record for record in history if record["epoch"] == best_epoch), history[-1])
    metrics = {name: value for name, value in best.items() if "/" in name and isinstance(value, int | float)}
    metrics["seconds_per_epoch"] = statistics.median(record["train/seconds"] for record in history)
    peaks = [record["train/peak_memory_gb"] for record in history if record.get("train/peak_memory_gb")]
    return {**metrics, "epoch": best["epoch"] + 1, **({"peak_memory_gb": max(peaks)} if peaks else {})}


def front(trials: Sequence[Trial], names: Sequence[str]) -> list[bool]:
    """Which trials are on the Pareto front of the named objectives.

    Args:
        trials: Of a search; those that did not finish are on no front.
        names: Objectives.

    Returns:
        One flag for each trial.
    """
    points = [_point(trial, names) if trial.state == "finished" else None for trial in trials]
    return [
        point is not None and not any(_beats(other, point) for other in points if other is not None)
        for point in points
    ]


def _point(trial: Trial, names: Sequence[str]) -> tuple[float, ...] | None:
    """Objectives turned so that more is better."""
    values = []
    for name in names:
        value = OBJECTIVES[name].of(trial)
        if value is None:
            return None
        values.append(value if OBJECTIVES[name].more else -value)
    return tuple(values)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
