"""Progress goes to stderr: plain lines with a rate and an ETA where no terminal is."""

import re

import pytest

from liftray.progress import progress, show_line


def test_what_is_said_stands_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_line("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_lines_tell_how_far_how_fast_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("evaluate", 8, "chains", every_s=0.0) as advance:
        advance()
        advance(3)
    out, err = capsys.readouterr()
    first, second, last = err.splitlines()
    assert out == ""
    assert re.fullmatch(r"evaluate: 1/8 chains \(12 %\), [\d.]+ chains/s, \d+ s left", first)
    assert re.fullmatch(r"evaluate: 4/8 chains \(50 %\), [\d.]+ chains/s, \d+ s left", second)
    assert re.fullmatch(r"evaluate: 4 chains in [\d.]+ s", last)


@pytest.mark.parametrize("total", [None, 0])
def test_an_unknown_or_empty_total_is_no_trouble(
    capsys: pytest.CaptureFixture[str], total: float | None
) -> None:
    with progress("read", total, "records", every_s=0.0) as advance:
        advance(0)
        advance(2)
    assert "read: 2" in capsys.readouterr().err


def test_few_lines_are_printed_when_work_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("read", 1000, "records", every_s=3600) as advance:
        for _ in range(1000):
            advance()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failure_is_not_told_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with progress("read", 5, "records") as advance:
            advance()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert capsys.readouterr().err == ""
