"""A round of trials, run to their ends by Ray Tune: all of a search, or one step of a study.

Invariant: a trial that the ledger says has ended is not run again; when a round is left, in whatever way, the ledger
knows how each of its trials stands. Flow: tune, study -> [this] -> course (each turn), trial (one trial).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """What is to be run.

    Attributes:
        source: Where trials come from.
        stored: The frozen prefixes that they read.
        left: Trials at most.
        longest: Epochs of the longest trial.
    """

    source: proposals.Proposals
    stored: sharing.Stored
    left: int
    longest: int


def listed(settings: Settings, ledger: Ledger, trials: Sequence[Overrides], longest: int) -> Round:
    """The round of those of a list that have not ended, and their prefixes stored.

    Args:
        settings: What all trials share; addresses and directories absolute.
        ledger: What has been run.
        trials: Values of each.
        longest: Epochs of the longest of all.

    Raises:
        CacheError: The disk is full or not writable.
    """
    done = {known.name for known in ledger.trials if known.state in ENDED}
    left = [one for one in trials if trial_name(one) not in done]
    theirs = [trial.settings_of(settings, one, ledger.out) for one in left]
    stored = sharing.store(theirs, at_a_time(settings.search, settings.scaling))
    ordered = (left[at] for at in sharing.ordered(theirs))
    return Round(proposals.Listed(ordered), stored, len(left), longest)


def run(shared: trial.Shared, ledger: Ledger, planned: Round, board: Board) -> None:
    """Run a round on the connected Ray cluster.

    Args:
        shared: What all trials have in common.
        ledger: Where it is written how each ends.
        planned: The round.
        board: What the person who watches sees.
    """
    settings = shared.settings
    ended = [known for known in ledger.trials if known.state in ENDED]
    budget = stopping.Budget(settings.search, lambda: ledger.seconds)
    for known in ended:
        board.update(known)
    under_way = course.Course(settings, ledger, planned.source, planned.stored, budget, board)
    with board.shown():
        try:
            _tuner(shared, under_way, budget, ended, planned).fit()
        finally:
            under_way.close()
            shutil.rmtree(ledger.out / _TUNE, ignore_errors=True)


def first(search: SearchSettings) -> Objective:
    """What chooses the best."""
    return OBJECTIVES[search.objectives[0]]


def at_a_time(search: SearchSettings, scaling: ScalingSettings) -> int:
    """Trials at a time: no more than asked for, and no more than whose workers the cluster can hold."""
    import ray

    have = ray.cluster_resources()
    fit = int(have["CPU"] // (scaling.num_workers * scaling.cpus_per_worker))
    if scaling.use_gpu:
        fit = min(fit, int(have.get("GPU", 0) // scaling.num_workers))
    return max(1, min(search.max_concurrent, fit))


def in_process(search: SearchSettings, scaling: ScalingSettings) -> bool:
    """Whether trials train in their own processes, without a Ray Train worker group."""
    small = scaling.num_workers == 1 and not scaling.use_gpu
    asked = search.in_process
    if asked is True and not small:
        raise ConfigError(
            "search.in_process=true is for one worker without a GPU",
            remedy="set scaling.num_workers=1 and scaling.use_gpu=false, or search.in_process=auto",
        )
    inside = small and asked is not False
    if not inside and "peak_memory" in search.objectives:
        raise ConfigError(
            "search.objectives: peak_memory is measured in trials that train in their own process only",
            remedy="take it out, or set scaling.num_workers=1 and search.in_process=true",
        )
    return inside


def absolute(settings: Settings, uri: str, out: Path) -> Settings:
    """Paths and addresses that mean the same in a trial's process, which Tune starts in another directory."""
    data = {
        f"data.{split}": {name: str(Path(path).resolve()) for name, path in paths.items()}
        for split, paths in (("train", settings.data.train), ("valid", settings.data.valid))
    }
    sources = [
        one if one.startswith(("hf:", "package:")) else str(Path(one).resolve())
        for one in settings.backbone.source
    ]
    places = {"backbone.source": sources, "cache.dir": str(Path(settings.cache.dir).resolve())}
    if (start := settings.train.start_from) and not start.startswith(("runs:", "models:")):
        places["train.start_from"] = str(Path(start).resolve())
    return settings.replace({**data, **places, "tracking.uri": uri, "run.dir": str(out)})


def _tuner(
    shared: trial.Shared,
    under_way: course.Course,
    budget: stopping.Budget,
    ended: list[Trial],
    planned: Round,
) -> Any:
    from ray import tune

    # Ctrl-C means KeyboardInterrupt: Tune would end as if all were well.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the board tells what happens; stdout is the job's result

    def one_trial(config: dict[str, Any]) -> None:
        trial.run(shared, config["overrides"], config["cached"])

    settings, inside = shared.settings, shared.in_process
    concurrent = at_a_time(settings.search, settings.scaling)
    # A trial that only waits for Ray Train's workers reserves nothing itself; Tune refuses an empty request, so it asks
    # for a byte.
    resources: dict[str, float] = {"cpu": settings.scaling.cpus_per_worker if inside else 0, "memory": 1}
    banded = settings.search.scheduler == "hyperband"
    if banded:
        # A paused trial counts as running for Tune's own limit, which would keep a bracket from filling: the limit
        # is a share of the memory instead.
        resources["memory"] = int(_memory() / (concurrent + 0.01))
        # Brackets are halved among the trials that they know: they must know all of theirs before the first one ends.
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
            # The next trial begins in the process of one that ended: libraries are imported once. But a process keeps
            # some of the memory that it had.
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
