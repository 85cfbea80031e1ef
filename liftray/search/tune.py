"""The search: Ray Tune over whole training runs; the best model is registered.

Invariant: trials see training and validation data only; test sets are scored once, for the trial that validation chose.
Only the ledger records what was done, so the same command resumes a search wherever it was killed. See `course` (the
driver), `trial` (one trial) and `search_report`.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liftray import files, library_log, sealed
from liftray.config import Settings
from liftray.data.dataset import describe_sets
from liftray.errors import ConfigError, LiftrayError
from liftray.progress import show_line
from liftray.search import course, proposals, rounds, search_report, sharing, space, stopping, trial
from liftray.search.board import Board
from liftray.search.ledger import ENDED, TRIALS, Ledger, Trial
from liftray.search.objectives import OBJECTIVES
from liftray.sections import domain
from liftray.track.mlflow import runs
from liftray.track.mlflow.mlflow_run import MlflowRun
from liftray.track.mlflow.store import client, mlflow_errors
from liftray.train import cluster
from liftray.train.prepare import prepare_run
from liftray.train.resume import RUN_FILE, SUMMARY, earlier_run
from liftray.train.train_job import train

_PARENT_TAG = "liftray.search_run"
_CUT_KEYS = ("adapter.", "method", "backbone.", "data.")


def search(settings: Settings) -> dict[str, Any]:
    """Search, then evaluate and register the best trial's model.

    Args:
        settings: `search` defines the space; the rest is common to all trials.

    Returns:
        What `summary.json` holds: `best` and `trials`.

    Raises:
        InputError: The user's input is invalid; nothing was written.
        LiftrayError: No trial finished.
    """
    proposals.require(settings.search.method)
    inside = rounds.in_process(settings.search, settings.scaling)
    prepared = prepare_run(settings)
    backbone = prepared.backbone
    show_line(
        describe_sets(
            {"train": settings.data.train, "valid": settings.data.valid, "test": settings.data.test}
        )
    )
    show_line(backbone.describe())
    total = space.check(settings, backbone.num_blocks, backbone.name, backbone.width)
    cluster.check(settings.run, settings.scaling)
    files.check_writable(settings.run.dir)
    uri = runs.check(settings.tracking.uri)
    out = Path(settings.run.dir).resolve()
    absolute = rounds.absolute(settings, uri, out)
    listed = space.trials(settings.search, settings.train.seed)
    prepare = sharing.Preparer()
    for overrides in space.corners(settings.search) if listed is None else listed:
        prepare(trial.settings_of(absolute, overrides, out))
    if settings.train.resume:
        _check_earlier(absolute, Ledger(out))
    where = "in their own processes" if inside else "as Ray Train runs"
    show_line(f"tune: {total} trials of {', '.join(settings.search.space)}, {where}")
    at_a_time = settings.search.max_concurrent
    joined = cluster.connected(settings.run, settings.scaling, runs_at_a_time=at_a_time, dashboard=not inside)
    with joined, files.sole_user(out, "search or study"):
        library_log.keep_in(out / "logs" / "tune.log")
        if not settings.train.resume:
            shutil.rmtree(out / TRIALS, ignore_errors=True)
        ledger = Ledger(out)
        with runs.start_run(
            settings, run_id=earlier_run(out, settings.train, uri), tags={"liftray.search": "parent"}
        ) as parent:
            sealed.write_json(out / RUN_FILE, {"run_id": parent.run_id, "tracking_uri": uri})
            parent.log_text(_space_text(settings), "search_space.json")
            _run_trials(absolute, ledger, parent.run_id, inside, total)
            course.settle(uri, ledger)
            return _finish(settings, ledger, parent)


def _check_earlier(settings: Settings, ledger: Ledger) -> None:
    """Refuse a directory whose trials had the same values and other settings."""
    prepare = sharing.Preparer()
    for known in ledger.trials:
        if set(known.config) <= set(settings.search.space):
            ours = trial.settings_of(settings, known.config, ledger.out)
            ledger.check({known.name: prepare(ours).digest})


def _run_trials(settings: Settings, ledger: Ledger, parent_run_id: str, inside: bool, total: int) -> None:
    """Run the trials that have not ended."""
    ended = [known for known in ledger.trials if known.state in ENDED]
    if ended:
        show_line(f"tune: {len(ended)} trials have ended before and are not run again")
    planned = _planned(settings, ledger, ended)
    spent = stopping.Budget(settings.search, lambda: ledger.seconds).spent()
    if not planned.left or spent:
        show_line(f"tune: no trial is run ({spent or 'all have ended'})")
        return
    context = trial.TrialContext(settings, parent_run_id, inside, settings.search.scheduler != "hyperband")
    rounds.run(context, ledger, planned, Board(total, rounds.first(settings.search), lambda: ledger.seconds))


def _planned(settings: Settings, ledger: Ledger, ended: list[Trial]) -> rounds.Round:
    """The source of the trials, the frozen prefixes that they share, and how many trials are left."""
    search = settings.search
    longest = max(settings.replace(one).train.epochs for one in space.corners(settings.search))
    listed = space.trials(settings.search, settings.train.seed)
    if listed is not None:
        return rounds.listed(settings, ledger, listed, longest)
    begun = [known.config for known in ledger.trials if known.state not in ENDED]
    names = search.objectives
    past, earlier = _values(ended, names), _values(_earlier_search(settings), names)
    more = [OBJECTIVES[name].more for name in names]
    cuts = [
        trial.settings_of(settings, one, ledger.out) for one in space.corners(settings.search, *_CUT_KEYS)
    ]
    left = max(0, search.num_trials - len(ended))
    at_a_time = rounds.at_a_time(search, settings.scaling)
    stored = sharing.store(cuts, at_a_time, left / len(cuts)) if left else sharing.StoredPrefixes({}, [])
    source = proposals.Optimized(search, settings.train.seed, more, begun, past, earlier)
    return rounds.Round(source, stored, left, longest)


def _values(trials: Sequence[Trial], names: Sequence[str]) -> list[tuple[dict[str, Any], list[float]]]:
    return [(known.config, [OBJECTIVES[name].of(known) or 0.0 for name in names]) for known in trials]


def _earlier_search(settings: Settings) -> list[Trial]:
    """Trials of the search that this one starts from, if this space could have proposed them.

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
            f"search.start_from: none of {len(known)} finished trials is in search.space",
            where=settings.search.start_from,
            remedy="name the run.dir of a search over the same keys",
        )
    show_line(f"tune: learning from {len(fitting)} trials of {settings.search.start_from}")
    return fitting


def _space_text(settings: Settings) -> str:
    return json.dumps(settings.search.model_dump(mode="json"), indent=2)


def _finish(settings: Settings, ledger: Ledger, parent: MlflowRun) -> dict[str, Any]:
    finished = [known for known in ledger.trials if known.state == "finished"]
    if not finished:
        reasons = "; ".join(dict.fromkeys(known.reason for known in ledger.trials))
        raise LiftrayError(
            f"no trial finished ({reasons[:500]})",
            where=str(ledger.out),
            remedy="fix that, or raise the budget, and rerun the same command",
        )
    best = max(finished, key=lambda known: rounds.first(settings.search).of(known) or 0.0)
    chosen = trial.settings_of(settings, best.config, ledger.out, best.cached).replace(
        {
            "registry.name": settings.registry.name,
            "data.test": settings.data.test,
            "evaluate.baselines": settings.evaluate.baselines,
        }
    )
    show_line(f"tune: best on validation: trial {best.number}, {best.config}; evaluating and registering it")
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
        "verdict": result["verdict"],
        "trials": [known.row() for known in ledger.trials],
        "seconds": round(ledger.seconds, 1),
        "cost": round(ledger.seconds / 3600 * settings.search.cost_per_hour, 4),
    }
    written = search_report.write(ledger, settings, best, summary)
    files.write_json(ledger.out / SUMMARY, summary)
    parent.log_metrics({f"best/{name}": value for name, value in best.metrics.items()})
    for path in (*written, ledger.out / SUMMARY):
        parent.log_artifacts(path)
    return summary


def _name_the_search(result: dict[str, Any], parent: MlflowRun) -> None:
    """Tag the registered version with the search that chose it."""
    uri = str(result["model_uri"])
    if uri.startswith("models:/"):
        name, _, version = uri.removeprefix("models:/").rpartition("/")
        with mlflow_errors(parent.uri):
            client(parent.uri).set_model_version_tag(name, version, _PARENT_TAG, parent.run_id)
