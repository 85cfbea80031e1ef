"""What is compared runs in turns, and a process of its own tells its own memory."""

import os

import pytest

from liftray.bench.meter import in_own_process, in_turns, median


def fill(megabytes: int) -> int:
    return sum(bytearray(b"\1") * (megabytes << 20)) >> 20


def fail() -> None:
    raise ValueError("no luck")


def test_runs_take_turns_after_an_unmeasured_round() -> None:
    calls: list[str] = []
    runs = {name: lambda name=name: calls.append(name) for name in "ab"}

    seconds = in_turns("test", runs, repeats=3)

    assert "".join(calls) == "abababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert min(min(values) for values in seconds.values()) >= 0


def test_the_device_is_waited_for_before_each_reading_of_the_clock() -> None:
    calls: list[str] = []

    in_turns("test", {"run": lambda: calls.append("run")}, repeats=1, wait=lambda: calls.append("wait"))

    assert calls == ["wait", "run", "wait"] * 2


def test_the_median_is_that_of_all_rounds() -> None:
    assert median([5.0, 1.0, 2.0]) == 2.0


def test_peak_memory_is_the_childs_alone() -> None:
    ballast = bytearray(b"\1") * (300 << 20)
    small, large = in_own_process(fill, 1), in_own_process(fill, 200)

    assert (small.result, large.result) == (1, 200)
    assert 150 << 20 < large.peak_bytes - small.peak_bytes < 250 << 20
    assert small.peak_bytes < len(ballast)
    assert large.seconds > 0


def test_it_is_another_process_and_its_failure_comes_back() -> None:
    assert in_own_process(os.getpid).result != os.getpid()
    with pytest.raises(ValueError, match="no luck"):
        in_own_process(fail)
