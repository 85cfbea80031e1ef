"""A global step in tokens is split over the workers, or refused."""

import pytest
from pydantic import ValidationError

from liftray.data.step_split import StepSplit
from liftray.errors import ConfigError
from liftray.sections import TrainSettings

WINDOW = 519


def _split(workers: int, step: int | None, batch: int) -> StepSplit | None:
    return StepSplit.of(TrainSettings(tokens_per_step=step, tokens_per_batch=batch), WINDOW, workers)


@pytest.mark.parametrize(
    ("workers", "batch", "parts", "largest"),
    [
        (1, 8192, 1, 8192),
        (8, 8192, 8, 1024 + WINDOW),
        (15, 8192, 15, 547 + WINDOW),
        (1, 4700, 2, 4096 + WINDOW),
        (4, 2600, 4, 2048 + WINDOW),
        # 2,048 tokens hold a fourth of the step only without room for the last window.
        (4, 2048, 8, 1024 + WINDOW),
    ],
)
def test_each_worker_gets_the_same_number_of_micro_batches_within_the_limit(
    workers: int, batch: int, parts: int, largest: int
) -> None:
    assert _split(workers, 8192, batch) == StepSplit(8192, parts, largest)


def test_without_tokens_of_a_step_nothing_is_split() -> None:
    assert _split(8, None, 2048) is None


def test_more_workers_than_a_step_has_windows_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"8192 .* over 16 workers.* to 15 at most, or .* to 8304 at least"):
        _split(16, 8192, 8192)
    with pytest.raises(
        ConfigError, match=r"a window takes up to 519 tokens; set train.tokens_per_step to 519"
    ):
        _split(1, 500, 8192)


def test_a_limit_that_no_split_meets_is_refused_with_one_that_does() -> None:
    with pytest.raises(ConfigError, match=r"set train\.tokens_per_batch to 1105 at least"):
        _split(2, 8192, 600)
    assert _split(2, 8192, 1105) is not None


def test_micro_batches_and_tokens_of_a_step_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="micro_batches_per_step would change nothing"):
        TrainSettings(tokens_per_step=8192, micro_batches_per_step=2)
