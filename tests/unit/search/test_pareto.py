"""The Pareto front of trials, and its table."""

import csv
from pathlib import Path
from typing import Any

from liftray.search import pareto


def _row(score: float | None, size: int, state: str = "finished") -> dict[str, Any]:
    metrics = {} if score is None else {pareto.SCORE: score, pareto.SIZE: size}
    return {"config": {"adapter.reduction_factor": size}, "state": state, "metrics": metrics, "seconds": 1.25}


def test_the_front_holds_what_no_trial_beats() -> None:
    rows = [_row(0.7, 10), _row(0.8, 20), _row(0.75, 30), _row(0.8, 40), _row(None, 5, "error")]
    assert pareto.front(rows) == [True, True, False, False, False]


def test_equal_trials_are_both_on_it() -> None:
    assert pareto.front([_row(0.7, 10), _row(0.7, 10)]) == [True, True]


def test_a_stopped_trial_is_on_no_front() -> None:
    assert pareto.front([_row(0.9, 1, "stopped"), _row(0.7, 10)]) == [False, True]


def test_table_and_plot_are_written(tmp_path: Path) -> None:
    pareto.write(tmp_path, [_row(0.7, 10), _row(None, 5, "error")])
    with (tmp_path / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["pareto"] for line in table] == ["yes", "no"]
    assert table[0]["valid_q3"] == "0.7"
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"
