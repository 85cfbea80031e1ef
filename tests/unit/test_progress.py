"""Progress goes to stderr: lines with a rate and a time left, once the work itself has given them."""

import os
import pty
import sys
from contextlib import suppress

import pytest

from liftray.progress import Pace, ProgressLines, duration, progress, show_line


class Clock:
    """A clock that moves when it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[str]:
    return []


def test_a_line_is_shown_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_line("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_the_rate_and_the_time_left_are_those_of_the_work(clock: Clock, shown: list[str]) -> None:
    lines = ProgressLines("fill", 1000, "residues", show=shown.append, clock=clock)
    clock.now += 100  # processes start
    for _ in range(5):
        lines(100)
        clock.now += 2
    assert shown == [
        "fill: 300/1,000 residues (30 %), 50 residues/s, 14 s left",
    ]
    clock.now += 6
    lines(100)
    assert shown[1:] == ["fill: 600/1,000 residues (60 %), 31.2 residues/s, 13 s left"]
    assert lines.summary() == "fill: 600 residues in 116 s"


def test_no_rate_is_shown_before_there_is_one(clock: Clock, shown: list[str]) -> None:
    lines = ProgressLines("fill", 10, "chains", show=shown.append, clock=clock)
    clock.now += 20
    lines()
    lines()  # two workers end at about the same time
    assert shown == []
    assert lines.state() == "2/10 chains (20 %), 20 s so far"
    clock.now += 10
    lines()
    assert shown == ["fill: 3/10 chains (30 %), 0.2 chains/s, 35 s left"]


def test_a_line_shows_that_a_long_unit_is_still_running(clock: Clock, shown: list[str]) -> None:
    lines = ProgressLines("predict", 4, "chains", show=shown.append, clock=clock)
    for _ in range(60):
        clock.now += 1
        lines.tick()
    assert shown[0] == "predict: 0/4 chains (0 %), 15 s so far"
    assert len(shown) == 4
    assert shown[-1] == "predict: 0/4 chains (0 %), 60 s so far"


def test_a_stalled_work_slows_its_rate(clock: Clock, shown: list[str]) -> None:
    lines = ProgressLines("fill", 100, "chains", show=shown.append, clock=clock)
    for _ in range(11):
        lines()
        clock.now += 1
    before = lines.state()
    clock.now += 9
    assert before == "11/100 chains (11 %), 1 chains/s, 89 s left"
    assert lines.state() == "11/100 chains (11 %), 0.526 chains/s, 3 min left"


def test_lines_grow_rare_in_a_long_job(clock: Clock, shown: list[str]) -> None:
    lines = ProgressLines("ingest", None, "records", show=shown.append, clock=clock)
    for _ in range(3600):
        clock.now += 1
        lines(2)
        lines.tick()
    assert 3600 / 30 <= len(shown) < 3600 / 20
    assert shown[0] == "ingest: 10 records, 2 records/s"
    assert shown[-1].endswith(" records, 2 records/s")


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = Pace()
    done = 0.0
    for second in range(300):
        done += 10 if second < 200 else 1
        pace.add(done, float(second))
    assert pace.rate(299.0) == pytest.approx(1.0)


def test_many_units_at_once_are_one_measurement() -> None:
    pace = Pace()
    for number in range(1000):
        pace.add(number + 1, 0.001 * number)
    assert pace.rate(1.0) is None
    for number in range(9000):
        pace.add(1000 + number, 1 + 0.001 * number)
    assert pace.rate(10.0) == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42, "42 s"), (119.4, "119 s"), (150, "2 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("total", [None, 0])
def test_an_unknown_or_empty_total_is_no_trouble(
    capsys: pytest.CaptureFixture[str], total: float | None
) -> None:
    with progress("read", total, "records") as advance:
        advance(0)
        advance(2)
    assert capsys.readouterr().err == "read: 2 records in 0.0 s\n"


def test_a_failure_is_not_shown_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with progress("read", 5, "records") as advance:
            advance()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert capsys.readouterr().err == ""


def _read(terminal: int) -> str:
    content = b""
    with suppress(OSError):  # the other end is closed and nothing is left
        while piece := os.read(terminal, 4096):
            content += piece
    os.close(terminal)
    return content.decode()


def test_a_terminal_has_a_bar_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("read", 5, "records") as advance:
            advance(2)
            show_line("a line [of its own]")
    text = _read(ours)
    assert "2/5 records (40 %)" in text
    assert "a line [of its own]\r\n" in text
    assert text.rindex("read: 2 records in ") > text.rindex("a line")
