"""Early ends of trials: schedulers that compare them, and the search's budget.

Invariant: a scheduler compares all trials at the same epoch numbers, those of earlier processes included, and never
stops a trial before `grace_epochs`. Flow: settings.search -> [this] -> Tune.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule, TrialScheduler

from liftray.config import SearchSettings
from liftray.search.ledger import Trial
from liftray.search.trial import EPOCHS_DONE, tune_metrics

_MEDIAN_OF = 3  # fewest trials that a median is taken of


def scheduler(search: SearchSettings, metric: str, longest: int, earlier: Sequence[Trial]) -> Any:
    """The scheduler of the settings, or None.

    Args:
        search: The search section: `scheduler`, its grace and halving.
        metric: The metric that trials are compared by; more is better.
        longest: Epochs of the longest trial.
        earlier: Trials that ended before, which asha and median compare with. HyperBand's brackets start again.
    """
    shared = {"time_attr": EPOCHS_DONE, "metric": metric, "mode": "max"}
    if search.scheduler == "asha":
        asha = ASHAScheduler(
            max_t=longest,
            grace_period=search.grace_epochs,
            reduction_factor=search.halving,
            stop_last_trials=False,
            **shared,
        )
        return _with_history(asha, earlier)
    if search.scheduler == "median":
        median = MedianStoppingRule(
            grace_period=search.grace_epochs,
            min_samples_required=_MEDIAN_OF,
            min_time_slice=math.inf,  # no trial is paused for others while there are too few for a median
            **shared,
        )
        return _with_history(median, earlier)
    if search.scheduler == "hyperband":
        return HyperBandScheduler(
            max_t=longest, reduction_factor=search.halving, stop_last_trials=False, **shared
        )
    return None


@dataclass(frozen=True)
class _Past:
    """A trial of an earlier process, in the form that schedulers know."""

    trial_id: str


class _EmptyController:
    """The controller that a scheduler consults, before any trial runs."""

    def get_live_trials(self) -> list[Any]:
        """None."""
        return []


def _with_history(chosen: TrialScheduler, earlier: Sequence[Trial]) -> TrialScheduler:
    """Give a scheduler the epochs of trials that ended before, so that it compares new trials with them."""
    controller: Any = _EmptyController()
    for trial in earlier:
        if not trial.history:
            continue
        past: Any = _Past(trial.name)
        chosen.on_trial_add(controller, past)
        for record in trial.history:
            if chosen.on_trial_result(controller, past, tune_metrics(record)) == TrialScheduler.STOP:
                break
        chosen.on_trial_complete(controller, past, tune_metrics(trial.history[-1]))
    return chosen


class Budget(Stopper):
    """Ends the search when its hours or its cost are spent.

    Args:
        search: The search section: `max_hours`, `max_cost` and `cost_per_hour`.
        seconds: Gives the seconds that the search has taken, earlier processes included.
    """

    def __init__(self, search: SearchSettings, seconds: Callable[[], float]) -> None:
        self._search, self._seconds = search, seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for its own results."""
        return False

    def stop_all(self) -> bool:
        """Whether the budget is spent."""
        return self.spent() is not None

    def spent(self) -> str | None:
        """The limit that is reached, in words; None before."""
        hours = self._seconds() / 3600
        search = self._search
        if search.max_hours is not None and hours >= search.max_hours:
            return f"search.max_hours={search.max_hours:g} is spent"
        if search.max_cost is not None and hours * search.cost_per_hour >= search.max_cost:
            return f"search.max_cost={search.max_cost:g} is spent"
        return None
