"""Rank 0's record of the steps comes every few seconds, however long a step takes."""

import json
from pathlib import Path

import pytest

from liftray.train.step_log import StepLog


class Clock:
    """A clock that moves when it is set."""

    def __init__(self) -> None:
        self.now = 7.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("step_s", [0.001, 0.05, 1.0, 40.0])
def test_the_steps_between_two_records_take_about_the_wanted_time(step_s: float) -> None:
    clock = Clock()
    log = StepLog(None, every_s=3.0, clock=clock)
    stride, taken = 1, []
    for _ in range(12):
        clock.now += stride * step_s
        taken.append(stride * step_s)
        stride = log.next_stride()
    assert taken[-1] == pytest.approx(max(3.0, step_s), rel=0.1)
    assert max(taken) <= max(3.0, step_s) * 1.001


def test_records_are_lines_with_the_time(tmp_path: Path) -> None:
    clock = Clock()
    log = StepLog(tmp_path / "live.jsonl", clock=clock)
    log.write({"step": 1})
    clock.now = 9.5
    log.write({"step": 2})
    written = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    assert written == [{"step": 1, "seconds": 7.0}, {"step": 2, "seconds": 9.5}]


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    StepLog(tmp_path / "absent" / "live.jsonl").write({"step": 1})
    StepLog(None).write({"step": 1})
