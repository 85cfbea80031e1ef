"""Schedulers know earlier trials; the budget counts earlier processes."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from liftray.search.stopping import Budget, scheduler
from liftray.search.trial import tune_metrics
from tests.parts import tiny
from tests.parts.trials import history, trial


@dataclass(frozen=True)
class _Running:
    """A trial, with what these schedulers read."""

    trial_id: str


def _verdicts(name: str, scores: list[float], earlier: list[Any], grace: int = 1) -> list[str]:
    settings = tiny.settings(search__scheduler=name, search__grace_epochs=grace)
    chosen = scheduler(settings.search, "valid/q3", 9, earlier)
    nobody: Any = SimpleNamespace(get_live_trials=list)
    one: Any = _Running("new")
    chosen.on_trial_add(nobody, one)
    return [chosen.on_trial_result(nobody, one, tune_metrics(record)) for record in history(scores)]


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_poor_trial_is_stopped_by_comparison_with_earlier_processes(name: str) -> None:
    earlier = [trial(number, [0.5, 0.6, 0.7]) for number in range(1, 7)]
    assert _verdicts(name, [0.1], earlier) == [TrialScheduler.STOP]
    assert _verdicts(name, [0.9, 0.95], earlier) == [TrialScheduler.CONTINUE] * 2
    assert _verdicts(name, [0.1], []) == [TrialScheduler.CONTINUE]


@pytest.mark.parametrize("name", ["asha", "median"])
def test_no_trial_is_stopped_in_its_grace(name: str) -> None:
    earlier = [trial(number, [0.5, 0.6, 0.7]) for number in range(1, 7)]
    assert _verdicts(name, [0.1, 0.1, 0.1], earlier, grace=3) == [
        *[TrialScheduler.CONTINUE] * 2,
        TrialScheduler.STOP,
    ]


def test_the_last_epoch_is_no_early_stop() -> None:
    assert _verdicts("asha", [0.5] * 9, [])[-1] == TrialScheduler.CONTINUE


def test_without_a_scheduler_there_is_none() -> None:
    assert scheduler(tiny.settings().search, "valid/q3", 9, []) is None


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"search__max_hours": 2.0}, "search.max_hours=2 is spent"),
        ({"search__max_cost": 3.0, "search__cost_per_hour": 1.5}, "search.max_cost=3 is spent"),
    ],
)
def test_a_budget_is_spent_by_hours_and_by_cost(search: dict[str, float], message: str) -> None:
    clock = {"seconds": 7199.0}
    budget = Budget(tiny.settings(**search).search, lambda: clock["seconds"])
    assert not budget.stop_all()
    clock["seconds"] = 7200.0
    assert budget.stop_all()
    assert budget.spent() == message
    assert not budget("trial", {})


def test_without_a_budget_nothing_is_spent() -> None:
    assert Budget(tiny.settings().search, lambda: 1e9).spent() is None
