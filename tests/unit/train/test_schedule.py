"""The learning rate is a function of the step alone."""

from itertools import pairwise

import pytest

from liftray.config import TrainSettings
from liftray.train.schedule import learning_rate


def _rates(total: int, **options: object) -> list[float]:
    settings = TrainSettings(**{"lr": 2.0, "warmup_ratio": 0.1, **options})
    return [learning_rate(settings, step, total) for step in range(total)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_it_rises_to_the_peak_and_never_again(schedule: str) -> None:
    rates = _rates(100, schedule=schedule)
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert all(0 <= rate <= 2.0 for rate in rates)


def test_each_decay_has_its_shape() -> None:
    assert _rates(100, schedule="cosine")[55] == pytest.approx(1.0)
    assert _rates(100, schedule="linear")[55] == pytest.approx(1.0)
    assert _rates(100, schedule="linear")[32] == pytest.approx(2.0 * (1 - 22 / 90))
    assert _rates(100, schedule="cosine")[-1] < 0.01
    assert set(_rates(100, schedule="constant")[10:]) == {2.0}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup_ratio", [0.0, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_short_runs_get_a_rate_above_zero_at_first(schedule: str, warmup_ratio: float, total: int) -> None:
    rates = _rates(total, schedule=schedule, warmup_ratio=warmup_ratio)
    assert rates[0] > 0
    assert max(rates) <= 2.0


def test_steps_past_the_end_stay_at_the_end() -> None:
    settings = TrainSettings(lr=2.0)
    assert learning_rate(settings, 500, 100) == pytest.approx(0.0)
