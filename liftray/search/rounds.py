"""A round of trials, run to their ends by Ray Tune: all of a search, or one step of a study.

Invariant: a trial that has ended according to the ledger is not run again. However a round ends, the ledger then holds
the state of each of its trials. Flow: tune, study -> [this] -> course (the driver), trial (one trial).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray import paths
from liftray.config import ScalingSettings, SearchSettings, Settings
from liftray.errors import ConfigError
from liftray.search import course, proposals, sharing, stopping, trial
from liftray.search.board import Board
from liftray.search.ledger import ENDED, Ledger, Trial
from liftray.search.objectives import OBJECTIVES, Objective
from liftray.search.space import Overrides, trial_name

_TUNE = "tune"


@dataclass(frozen=True)
class Round:
    """The trials to run.

    Attributes:
        source: Gives the trials.
        stored: The frozen prefixes that they read.
        left: Trials at most.
        longest: Epochs of the longest trial.
    """

    source: proposals.Proposals
    stored: sharing.StoredPrefixes
    left: int
    longest: int


def listed(settings: Settings, ledger: Ledger, trials: Sequence[Overrides], longest: int) -> Round:
    """A round of the listed trials that have not ended, with their frozen prefixes stored.

    Args:
        settings: Common to all trials; addresses and directories absolute.
        ledger: The trials that were run.
        trials: Values of each trial.
        longest: Epochs of the longest of all.

    Raises:
        CacheError: The disk is full or not writable.
    """
    done = {known.name for known in ledger.trials if known.state in ENDED}
    left = [one for one in trials if trial_name(one) not in done]
    runs = [trial.settings_of(settings, one, ledger.out) for one in left]
    stored = sharing.store(runs, at_a_time(settings.search, settings.scaling))
    ordered = (left[at] for at in sharing.ordered(runs))
    return Round(proposals.Listed(ordered), stored, len(left), longest)


def run(context: trial.TrialContext, ledger: Ledger, planned: Round, board: Board) -> None:
    """Run a round on the connected Ray cluster.

    Args:
        context: Common to all trials.
        ledger: Records how each trial ends.
        planned: The round.
        board: Shows progress.
    """
    settings = context.settings
    ended = [known for known in ledger.trials if known.state in ENDED]
    budget = stopping.Budget(settings.search, lambda: ledger.seconds)
    for known in ended:
        board.update(known)
    under_way = course.Course(settings, ledger, planned.source, planned.stored, budget, board)
    with board.shown():
        try:
            _tuner(context, under_way, budget, ended, planned).fit()
        finally:
            under_way.close()
            shutil.rmtree(ledger.out / _TUNE, ignore_errors=True)


def first(search: SearchSettings) -> Objective:
    """The objective that chooses the best trial."""
    return OBJECTIVES[search.objectives[0]]


def at_a_time(search: SearchSettings, scaling: ScalingSettings) -> int:
    """Trials at a time: at most `search.max_concurrent`, and at most as many as the cluster has room for."""
    import ray

    resources = ray.cluster_resources()
    fit = int(resources["CPU"] // (scaling.num_workers * scaling.cpus_per_worker))
    if scaling.use_gpu:
        fit = min(fit, int(resources.get("GPU", 0) // scaling.num_workers))
    return max(1, min(search.max_concurrent, fit))


def in_process(search: SearchSettings, scaling: ScalingSettings) -> bool:
    """Whether trials train in their own processes, without a Ray Train worker group."""
    small = scaling.num_workers == 1 and not scaling.use_gpu
    requested = search.in_process
    if requested is True and not small:
        raise ConfigError(
            "search.in_process=true is for one worker without a GPU",
            remedy="set scaling.num_workers=1 and scaling.use_gpu=false, or search.in_process=auto",
        )
    inside = small and requested is not False
    if not inside and "peak_memory" in search.objectives:
        raise ConfigError(
            "search.objectives: peak_memory is measured in trials that train in their own process only",
            remedy="remove it, or set scaling.num_workers=1 and search.in_process=true",
        )
    return inside


def absolute(settings: Settings, uri: str, out: Path) -> Settings:
    """Settings with absolute paths and addresses, since Tune starts a trial's process in another directory."""
    data = {
        f"data.{split}": {name: paths.absolute(path) for name, path in sets.items()}
        for split, sets in (("train", settings.data.train), ("valid", settings.data.valid))
    }
    sources = [paths.absolute(one) for one in settings.backbone.source]
    places = {"backbone.source": sources, "cache.dir": paths.absolute(settings.cache.dir)}
    if start := settings.train.start_from:
        places["train.start_from"] = paths.absolute(start)
    return settings.replace({**data, **places, "tracking.uri": uri, "run.dir": str(out)})


def _tuner(
    context: trial.TrialContext,
    under_way: course.Course,
    budget: stopping.Budget,
    ended: list[Trial],
    planned: Round,
) -> Any:
    from ray import tune

    # Ctrl-C must raise KeyboardInterrupt; Tune's own handler would end the search as if it had finished.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the board shows progress; stdout is the job's result

    def one_trial(config: dict[str, Any]) -> None:
        trial.run(context, config["overrides"], config["cached"])

    settings, inside = context.settings, context.in_process
    concurrent = at_a_time(settings.search, settings.scaling)
    # A trial that only waits for Ray Train's workers reserves nothing itself. Tune refuses an empty request, so the
    # trial reserves one byte.
    resources: dict[str, float] = {"cpu": settings.scaling.cpus_per_worker if inside else 0, "memory": 1}
    banded = settings.search.scheduler == "hyperband"
    if banded:
        # A paused trial counts as running for Tune's own limit, which would keep a bracket from filling: the limit
        # is a share of the memory instead.
        resources["memory"] = int(_memory() / (concurrent + 0.01))
        # Brackets are halved among the trials that they know, so they must know all of them before the first one ends.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(planned.left)
    return tune.Tuner(
        tune.with_resources(one_trial, resources),
        tune_config=tune.TuneConfig(
            num_samples=planned.left,
            max_concurrent_trials=None if banded else concurrent,
            search_alg=under_way,
            scheduler=stopping.scheduler(
                settings.search, first(settings.search).metric, planned.longest, ended
            ),
            # The next trial starts in the process of one that ended, so libraries are imported once. But a process
            # keeps some of the memory that it had, which would spoil a measured peak.
            reuse_actors=inside and "peak_memory" not in settings.search.objectives,
        ),
        run_config=tune.RunConfig(
            name=_TUNE,
            storage_path=str(settings.run.dir),
            verbose=0,
            stop=budget,
            failure_config=tune.FailureConfig(max_failures=settings.train.max_failures if inside else 0),
        ),
    )


def _memory() -> float:
    """Bytes of memory that the cluster's nodes offer to Ray."""
    import ray

    return float(ray.cluster_resources()["memory"])
