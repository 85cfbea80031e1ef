"""A person sees how far a run is, what it resumed from and which workers were lost; times left come from the work."""

from typing import Any

import pytest

from liftray.train.run_lines import RunLines


class Clock:
    """A clock that moves when it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _lines(clock: Clock, *, terminal: bool = False, max_failures: int = 3) -> RunLines:
    return RunLines("train", 12, lambda epoch: 100 + epoch, max_failures, terminal=terminal, clock=clock)


def _epoch(number: int, seconds: float = 20.0) -> dict[str, Any]:
    rates = {"train/seconds": seconds, "train/residues_per_s": 1234.5}
    return {
        "epoch": number,
        "train/loss": 1.25,
        "valid/q3": 0.5,
        "valid/q9": 0.25,
        "valid/loss": 1.0,
        **rates,
    }


def _step(epoch: int, step: int, seconds: float) -> dict[str, Any]:
    return {"epoch": epoch, "step": step, "global_step": 100 * epoch + step, "loss": 0.5, "seconds": seconds}


def test_the_time_left_is_judged_by_whole_epochs_without_the_start(clock: Clock) -> None:
    lines = _lines(clock)
    clock.now = 300.0  # processes start, caches are filled
    assert lines.of(_epoch(0)) == (
        "train: epoch 1/12, loss 1.2500, validation Q9 25.00, Q3 50.00, 1,234 residues/s, at most 4 min left"
    )
    for number in range(1, 11):
        clock.now += 10.0 if number < 5 else 30.0
        last = lines.of(_epoch(number, seconds=1.0))
    assert last is not None
    assert last.endswith("at most 30 s left")


@pytest.mark.parametrize(("terminal", "every_s"), [(True, 5), (False, 25)])
def test_lines_within_an_epoch_are_as_many_as_their_place_takes(
    clock: Clock, terminal: bool, every_s: int
) -> None:
    lines = _lines(clock, terminal=terminal)
    shown = []
    for second in range(100):
        clock.now = float(second)
        if line := lines.of(_step(1, second + 1, second)):
            shown.append((second, line))
    assert [second for second, _ in shown] == list(range(every_s, 100, every_s))
    if not terminal:
        assert (
            shown[1][1] == "train: epoch 2/12, step 51/101, loss 0.5000, 1 steps/s, 50 s left in this epoch"
        )


def test_no_rate_is_shown_before_there_is_one(clock: Clock) -> None:
    lines = _lines(clock)
    clock.now = 60.0
    assert lines.of(_step(0, 1, 1000.0)) == "train: epoch 1/12, step 1/100, loss 0.5000"


def test_a_lost_worker_and_the_step_to_resume_from_are_shown(clock: Clock) -> None:
    lines = _lines(clock, max_failures=1)
    lost = {"failed": {"1": "lost (its process was killed or crashed)"}}
    assert lines.of(lost) == "train: worker 1 lost (its process was killed or crashed), restart 1 of 1"
    assert lines.of({"resumed": 120, "of": 4000}) == "train: resumed at step 120 of 4,000"
    assert (
        lines.of(lost) == "train: worker 1 lost (its process was killed or crashed), no restart is left of 1"
    )


def test_a_long_silence_is_reported(clock: Clock) -> None:
    lines = _lines(clock)
    shown = []
    for second in range(100):
        clock.now = float(second)
        shown += [line for line in [lines.silence()] if line]
    assert shown[0] == "train: no step yet, 30 s so far"
    assert shown[-1] == "train: no step yet, 90 s so far"
    lines.of(_epoch(0))
    clock.now += 29.0
    assert lines.silence() is None
    clock.now += 1.0
    assert lines.silence() == "train: running, no report for 30 s"


def test_the_rate_begins_anew_in_another_process(clock: Clock) -> None:
    lines = _lines(clock)
    for second in range(10):
        lines.of(_step(0, second, 5000.0 + second))
    lines.of({"resumed": 4, "of": 1200})
    clock.now = 60.0
    for second in range(4):
        line = lines.of(_step(0, 4 + 2 * second, float(second)))
        clock.now += 30.0
    assert line == "train: epoch 1/12, step 10/100, loss 0.5000, 2 steps/s, 45 s left in this epoch"


def test_the_rate_after_a_loss_without_a_checkpoint_is_that_of_the_new_process(clock: Clock) -> None:
    lines = _lines(clock)
    for second in range(10):
        lines.of(_step(0, 10 * second, 5000.0 + second))
    lines.of({"failed": {"1": "lost"}})
    for second in range(1, 10):
        clock.now = 100.0 + second
        lines.of(_step(0, second, 40.0 + second))
    clock.now = 200.0
    shown = lines.of(_step(0, 10, 50.0))
    assert shown == "train: epoch 1/12, step 10/100, loss 0.5000, 1 steps/s, 90 s left in this epoch"
