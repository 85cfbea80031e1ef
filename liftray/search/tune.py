"""The search: Ray Tune over whole training runs, best model registered.

Invariant: trials see training and validation data only; test sets are scored once, for the trial that validation chose.
The ledger alone says what was done: the same command goes on wherever a search was killed. Read on in `course` (each
turn), `trial` (one trial) and `report` (what was found).
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liftray import files
from liftray.config import Settings
from liftray.errors import ConfigError, LiftrayError
from liftray.progress import say
from liftray.search import course, domain, proposals, report, sharing, space, stopping, trial
from liftray.search.board import Board
from liftray.search.ledger import ENDED, TRIALS, Ledger, Trial, digest_of
from liftray.search.objectives import OBJECTIVES, Objective
from liftray.track import runs
from liftray.track.store import client, told
from liftray.train import cluster, launch
from liftray.train.run import RUN_FILE, SUMMARY, earlier_run, train

_TUNE = "tune"
_PARENT_TAG = "liftray.search_run"
_CUT_KEYS = ("adapter.", "method", "backbone.", "data.")


def search(settings: Settings) -> dict[str, Any]:
    """Search, then evaluate and register the best trial's model.

    Args:
        settings: `search` says what is tried; the rest is what all trials share.

    Returns:
        What `summary.json` holds: `best` and `trials`.

    Raises:
        InputError: Something the user gave is at fault; nothing was written.
        LiftrayError: No trial finished.
    """
    proposals.require(settings.search.method)
    inside = _in_process(settings)
    prepared = launch.prepare(settings)
    backbone = prepared.backbone
    say(backbone.describe())
    total = space.check(settings, backbone.num_blocks, backbone.name, backbone.width)
    cluster.check(settings)
    uri = runs.check(settings.tracking.uri)
    out = Path(settings.run.dir).resolve()
    absolute = _absolute(settings, uri, out)
    listed = space.trials(settings)
    prepare = sharing.Preparer()
    for overrides in space.corners(settings) if listed is None else listed:
        prepare(trial.settings_of(absolute, overrides, out))
    if settings.train.resume:
        _check_earlier(absolute, Ledger(out))
    where = "in their own processes" if inside else "as Ray Train runs"
    say(f"tune: {total} trials of {', '.join(settings.search.space)}, {where}")
    with cluster.connected(settings, dashboard=not inside), files.sole_user(out, "search"):
        if not settings.train.resume:
            shutil.rmtree(out / TRIALS, ignore_errors=True)
        ledger = Ledger(out)
        with runs.start_run(
            settings, run_id=earlier_run(out, settings, uri), tags={"liftray.search": "parent"}
        ) as parent:
            files.write_json(out / RUN_FILE, {"run_id": parent.run_id, "tracking_uri": uri})
            parent.log_text(_space_text(settings), "search_space.json")
            _run_trials(absolute, ledger, parent.run_id, inside, total)
            course.settle(uri, ledger)
            return _finish(settings, ledger, parent)


def _in_process(settings: Settings) -> bool:
    """Whether trials train in their own processes, without a Ray Train worker group."""
    small = settings.scaling.num_workers == 1 and not settings.scaling.use_gpu
    asked = settings.search.in_process
    if asked is True and not small:
        raise ConfigError(
            "search.in_process=true is for one worker without a GPU",
            remedy="set scaling.num_workers=1 and scaling.use_gpu=false, or search.in_process=auto",
        )
    inside = small and asked is not False
    if not inside and "peak_memory" in settings.search.objectives:
        raise ConfigError(
            "search.objectives: peak_memory is measured in trials that train in their own process only",
            remedy="take it out, or set scaling.num_workers=1 and search.in_process=true",
        )
    return inside


def _absolute(settings: Settings, uri: str, out: Path) -> Settings:
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


def _check_earlier(settings: Settings, ledger: Ledger) -> None:
    """Refuse a directory whose trials had the same values and other settings."""
    for known in ledger.trials:
        if set(known.config) <= set(settings.search.space):
            ours = trial.settings_of(settings, known.config, ledger.out)
            ledger.check({known.name: digest_of(ours)})


def _run_trials(settings: Settings, ledger: Ledger, parent_run_id: str, inside: bool, total: int) -> None:
    """Run what is left to run."""
    ended = [known for known in ledger.trials if known.state in ENDED]
    if ended:
        say(f"tune: {len(ended)} trials have ended before and are not run again")
    source, stored, left = _sources(settings, ledger, ended)
    budget = stopping.Budget(settings, lambda: ledger.seconds)
    if not left or budget.spent():
        say(f"tune: no trial is run ({budget.spent() or 'all have ended'})")
        return
    board = Board(total, _first(settings), lambda: ledger.seconds)
    for known in ended:
        board.note(known)
    under_way = course.Course(settings, ledger, source, stored, budget, board)
    shared = trial.Shared(settings, parent_run_id, inside, settings.search.scheduler != "hyperband")
    with board.shown():
        try:
            _tuner(settings, shared, under_way, budget, ended, left).fit()
        finally:
            under_way.close()
            shutil.rmtree(ledger.out / _TUNE, ignore_errors=True)


def _sources(
    settings: Settings, ledger: Ledger, ended: list[Trial]
) -> tuple[proposals.Proposals, sharing.Stored, int]:
    """Where trials come from, the frozen prefixes that they share, and how many trials are left."""
    out, search = ledger.out, settings.search
    listed = space.trials(settings)
    if listed is None:
        begun = [known.config for known in ledger.trials if known.state not in ENDED]
        names = search.objectives
        past = _values(ended, names)
        more = [OBJECTIVES[name].more for name in names]
        cuts = [trial.settings_of(settings, one, out) for one in space.corners(settings, *_CUT_KEYS)]
        left = max(0, search.num_trials - len(ended))
        stored = sharing.store(cuts, left / len(cuts)) if left else sharing.Stored({}, [])
        earlier = _values(_earlier_search(settings), names)
        return proposals.Optimized(settings, more, begun, past, earlier), stored, left
    done = {known.name for known in ended}
    open_ones = [one for one in listed if space.trial_name(one) not in done]
    theirs = [trial.settings_of(settings, one, out) for one in open_ones]
    stored = sharing.store(theirs)
    return proposals.Listed(open_ones[at] for at in sharing.ordered(theirs)), stored, len(open_ones)


def _values(trials: Sequence[Trial], names: Sequence[str]) -> list[tuple[dict[str, Any], list[float]]]:
    return [(known.config, [OBJECTIVES[name].of(known) or 0.0 for name in names]) for known in trials]


def _earlier_search(settings: Settings) -> list[Trial]:
    """Trials of the search that this one starts from, as far as this space could have proposed them.

    Raises:
        ConfigError: There is no search, or nothing to learn from.
    """
    if not settings.search.start_from:
        return []
    domains = domain.parse(settings.search.space)
    known = [one for one in Ledger(Path(settings.search.start_from)).trials if one.state == "finished"]
    fitting = [one for one in known if domain.contains(domains, one.config)]
    if not fitting:
        raise ConfigError(
            f"search.start_from: none of {len(known)} finished trials lies in search.space",
            where=settings.search.start_from,
            remedy="name the run.dir of a search over the same keys",
        )
    say(f"tune: learning from {len(fitting)} trials of {settings.search.start_from}")
    return fitting


def _tuner(
    settings: Settings,
    shared: trial.Shared,
    under_way: course.Course,
    budget: stopping.Budget,
    ended: list[Trial],
    left: int,
) -> Any:
    from ray import tune

    # Ctrl-C means KeyboardInterrupt: Tune would end as if all were well.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the board tells what happens; stdout is the job's result

    def one_trial(config: dict[str, Any]) -> None:
        trial.run(shared, config["overrides"], config["cached"])

    inside, search = shared.in_process, settings.search
    at_a_time = _concurrent(settings)
    # A trial that only waits for Ray Train's workers reserves nothing itself; Tune refuses an empty request, so it asks
    # for a byte.
    resources: dict[str, float] = {"cpu": settings.scaling.cpus_per_worker if inside else 0, "memory": 1}
    banded = search.scheduler == "hyperband"
    if banded:
        # A paused trial counts as running for Tune's own limit, which would keep a bracket from filling: the limit
        # is a share of the memory instead.
        resources["memory"] = int(_memory() / (at_a_time + 0.01))
        # Brackets are halved among the trials that they know: they must know all of theirs before the first one ends.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(left)
    longest = max(ours.train.epochs for ours in (settings.replace(one) for one in space.corners(settings)))
    return tune.Tuner(
        tune.with_resources(one_trial, resources),
        tune_config=tune.TuneConfig(
            num_samples=left,
            max_concurrent_trials=None if banded else at_a_time,
            search_alg=under_way,
            scheduler=stopping.scheduler(settings, _first(settings).metric, longest, ended),
            # The next trial begins in the process of one that ended: libraries are imported once. But a process keeps
            # some of the memory that it had.
            reuse_actors=inside and "peak_memory" not in search.objectives,
        ),
        run_config=tune.RunConfig(
            name=_TUNE,
            storage_path=str(shared.settings.run.dir),
            verbose=0,
            stop=budget,
            failure_config=tune.FailureConfig(max_failures=settings.train.max_failures if inside else 0),
        ),
    )


def _concurrent(settings: Settings) -> int:
    """Trials at a time: no more than asked for, and no more than whose workers the cluster can hold."""
    import ray

    have, scaling = ray.cluster_resources(), settings.scaling
    fit = int(have["CPU"] // (scaling.num_workers * scaling.cpus_per_worker))
    if scaling.use_gpu:
        fit = min(fit, int(have.get("GPU", 0) // scaling.num_workers))
    return max(1, min(settings.search.max_concurrent, fit))


def _memory() -> float:
    """Bytes of memory that the cluster's nodes offer to Ray."""
    import ray

    return float(ray.cluster_resources()["memory"])


def _first(settings: Settings) -> Objective:
    """What chooses the best."""
    return OBJECTIVES[settings.search.objectives[0]]


def _space_text(settings: Settings) -> str:
    return json.dumps(settings.search.model_dump(mode="json"), indent=2)


def _finish(settings: Settings, ledger: Ledger, parent: runs.Run) -> dict[str, Any]:
    finished = [known for known in ledger.trials if known.state == "finished"]
    if not finished:
        reasons = "; ".join(dict.fromkeys(known.reason for known in ledger.trials))
        raise LiftrayError(
            f"no trial finished ({reasons[:500]})",
            where=str(ledger.out),
            remedy="mend that, or raise the budget, and give the same command again",
        )
    best = max(finished, key=lambda known: _first(settings).of(known) or 0.0)
    chosen = trial.settings_of(settings, best.config, ledger.out, best.cached).replace(
        {
            "registry.name": settings.registry.name,
            "data.test": settings.data.test,
            "evaluate.baselines": settings.evaluate.baselines,
        }
    )
    say(f"tune: best on validation: trial {best.number}, {best.config}; evaluating and registering it")
    result = train(chosen, parent_run_id=parent.run_id)
    _name_the_search(result, parent)
    summary: dict[str, Any] = {
        "run_id": parent.run_id,
        "best": {
            "config": best.config,
            "metrics": result["metrics"],
            "bundle": result["bundle"],
            "run_id": result["run_id"],
            "model_uri": result["model_uri"],
        },
        "trials": [known.row() for known in ledger.trials],
        "seconds": round(ledger.seconds, 1),
        "cost": round(ledger.seconds / 3600 * settings.search.cost_per_hour, 4),
    }
    written = report.write(ledger, settings, best, summary)
    files.write_json(ledger.out / SUMMARY, summary)
    parent.log_metrics({f"best/{name}": value for name, value in best.metrics.items()})
    for path in (*written, ledger.out / SUMMARY):
        parent.log_artifacts(path)
    return summary


def _name_the_search(result: dict[str, Any], parent: runs.Run) -> None:
    """Tag the registered version with the search that found it."""
    uri = str(result["model_uri"])
    if uri.startswith("models:/"):
        name, _, version = uri.removeprefix("models:/").rpartition("/")
        with told(parent.uri):
            client(parent.uri).set_model_version_tag(name, version, _PARENT_TAG, parent.run_id)
