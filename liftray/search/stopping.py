"""What ends trials before their last epoch: schedulers that compare them, and the search's budget.

Invariant: a scheduler sees every trial's scores at the same epoch numbers, also those of earlier processes, and never
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
from liftray.search.trial import EPOCHS_DONE, told

_MEDIAN_OF = 3  # trials at least that a median is taken of


def scheduler(search: SearchSettings, metric: str, longest: int, earlier: Sequence[Trial]) -> Any:
    """The scheduler that the settings ask for, or None.

    Args:
        search: The search section: `scheduler`, its grace and halving.
        metric: What trials are compared by; more is better.
        longest: Epochs of the longest trial.
        earlier: Trials that ended before; compared with by asha and median. HyperBand's brackets begin anew.
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
        return _having_seen(asha, earlier)
    if search.scheduler == "median":
        median = MedianStoppingRule(
            grace_period=search.grace_epochs,
            min_samples_required=_MEDIAN_OF,
            min_time_slice=math.inf,  # no trial gives way to others while there are too few for a median
            **shared,
        )
        return _having_seen(median, earlier)
    if search.scheduler == "hyperband":
        return HyperBandScheduler(
            max_t=longest, reduction_factor=search.halving, stop_last_trials=False, **shared
        )
    return None


@dataclass(frozen=True)
class _Past:
    """A trial of an earlier process, as schedulers know trials."""

    trial_id: str


class _Nobody:
    """The controller that a scheduler asks, when no trial runs yet."""

    def get_live_trials(self) -> list[Any]:
        """None."""
        return []


def _having_seen(chosen: TrialScheduler, earlier: Sequence[Trial]) -> TrialScheduler:
    """Let a scheduler compare with trials that ended before, by what it would have been told of them."""
    nobody: Any = _Nobody()
    for trial in earlier:
        if not trial.history:
            continue
        past: Any = _Past(trial.name)
        chosen.on_trial_add(nobody, past)
        for record in trial.history:
            if chosen.on_trial_result(nobody, past, told(record)) == TrialScheduler.STOP:
                break
        chosen.on_trial_complete(nobody, past, told(trial.history[-1]))
    return chosen


class Budget(Stopper):
    """Ends the search when its hours or its money are spent.

    Args:
        search: The search section: `max_hours`, `max_cost` and `cost_per_hour`.
        seconds: Tells the seconds that the search has taken, earlier processes included.
    """

    def __init__(self, search: SearchSettings, seconds: Callable[[], float]) -> None:
        self._search, self._seconds = search, seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it did itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the budget is spent."""
        return self.spent() is not None

    def spent(self) -> str | None:
        """What is spent, in words; None while there is some left."""
        hours = self._seconds() / 3600
        search = self._search
        if search.max_hours is not None and hours >= search.max_hours:
            return f"search.max_hours={search.max_hours:g} is spent"
        if search.max_cost is not None and hours * search.cost_per_hour >= search.max_cost:
            return f"search.max_cost={search.max_cost:g} is spent"
        return None
