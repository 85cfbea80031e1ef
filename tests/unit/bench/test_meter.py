"""What is compared runs in turns."""

from liftray.bench.meter import in_turns, median


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
