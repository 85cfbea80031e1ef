"""Objectives of trials and their Pareto front."""

import pytest

from liftray.search.objectives import OBJECTIVES, front, measured
from tests.parts.trials import history, trial


def test_the_front_holds_what_no_trial_beats() -> None:
    trials = [
        trial(1, [0.7], 10), trial(2, [0.8], 20), trial(3, [0.75], 30), trial(4, [0.8], 40),
        trial(5, [], 5, "error"), trial(6, [0.9], 1, "stopped"),
    ]  # fmt: skip
    assert front(trials, ["q3", "parameters"]) == [True, True, False, False, False, False]
    assert front(trials, ["q3"]) == [False, True, False, True, False, False]


def test_equal_trials_are_both_on_it() -> None:
    assert front([trial(1, [0.7], 10), trial(2, [0.7], 10)], ["q3", "parameters"]) == [True, True]


def test_a_trial_without_a_value_is_on_no_front() -> None:
    assert front([trial(1, [0.7])], ["q3", "peak_memory"]) == [False]


def test_metrics_are_those_of_the_best_epoch_with_median_time_and_peak_memory() -> None:
    records = history([0.5, 0.7, 0.6])
    for record, seconds, peak in zip(records, (9.0, 2.0, 1.0), (0.5, 0.75, 0.6), strict=True):
        record |= {"train/seconds": seconds, "train/peak_memory_gb": peak}
    result = measured(records, 1)
    assert (result["valid/q3"], result["epoch"]) == (0.7, 2)
    assert (result["seconds_per_epoch"], result["peak_memory_gb"]) == (2.0, 0.75)
    assert measured([], -1) == {}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("q3", 0.75174, "75.17"),
        ("parameters", 12345.0, "12,345"),
        ("peak_memory", 1.239, "1.24"),
        ("q8", None, "–"),
    ],
)
def test_values_as_people_read_them(name: str, value: float | None, text: str) -> None:
    assert OBJECTIVES[name].text(value) == text
