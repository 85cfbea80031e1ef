"""The study: every arm tuned on validation data with the same number of tries, run with all seeds, and compared.

Invariant: runs see training and validation data only; test sets are predicted once, after all choices were made. Only
the ledger records what was done, so the same command resumes a study wherever it was killed and repeats no run that
ended. See `plan` (what is run), `search.rounds` (how), `claims` (what follows from it) and `study_report`.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from liftray import files, library_log, paths, sealed
from liftray.config import Settings
from liftray.data import subset
from liftray.errors import ConfigError, LiftrayError
from liftray.evaluate.scoring import leakage_of
from liftray.machine import hardware, versions
from liftray.progress import show_line
from liftray.search import course, rounds, sharing, stopping, trial
from liftray.search.ledger import TRIALS, Ledger
from liftray.search.space import Overrides, trial_name
from liftray.study import baselines, estimate, findings, held_out, plan, study_report
from liftray.study.board import StudyBoard
from liftray.study.estimate import finished
from liftray.study.findings import FinishedStudy
from liftray.study.plan import Plan
from liftray.track.mlflow import runs
from liftray.track.mlflow.mlflow_run import MlflowRun
from liftray.train import cluster
from liftray.train.prepare import prepare_run
from liftray.train.resume import RUN_FILE, SUMMARY, earlier_run

_DATA, _CONTENT = "data", "data.json"


def study(settings: Settings, command: str, report_to: Path | None = None) -> dict[str, Any]:
    """Run the runs of a study that have not ended, and write its report.

    Args:
        settings: `study` defines what is compared; the rest is common to all runs.
        command: The command that repeats the study, for the report.
        report_to: A directory for a dated copy of the report.

    Returns:
        What `summary.json` holds.

    Raises:
        InputError: The user's input is invalid; no run was started.
        LiftrayError: Runs failed, or the budget is spent; the report holds what is complete.
    """
    prepared = prepare_run(settings)
    show_line(prepared.backbone.describe())
    planned = plan.make(settings, prepared.backbone)
    inside = rounds.in_process(planned.base.search, planned.base.scaling)
    cluster.check(settings.run, settings.scaling)
    files.check_writable(settings.run.dir)
    uri = runs.check(settings.tracking.uri)
    out = Path(settings.run.dir).resolve()
    at_a_time = settings.search.max_concurrent
    joined = cluster.connected(settings.run, settings.scaling, runs_at_a_time=at_a_time, dashboard=not inside)
    with joined, files.sole_user(out, "search or study"):
        library_log.keep_in(out / "logs" / "study.log")
        if not settings.train.resume:
            shutil.rmtree(out / TRIALS, ignore_errors=True)
            (out / _CONTENT).unlink(missing_ok=True)
        own = _with_own_data(settings, out)
        planned = plan.make(own, prepared.backbone)
        planned = replace(planned, base=rounds.absolute(planned.base, uri, out))
        ledger = Ledger(out)
        _check_earlier(planned, ledger, prepared.backbone.digest)
        tags = {"liftray.study": "parent"}
        with runs.start_run(settings, run_id=earlier_run(out, settings.train, uri), tags=tags) as parent:
            sealed.write_json(out / RUN_FILE, {"run_id": parent.run_id, "tracking_uri": uri})
            context = trial.TrialContext(planned.base, parent.run_id, inside, replayed=True)
            ended = _run(planned, own, ledger, context)
            facts = _facts(settings, ended, prepared.backbone.as_dict(), command, parent.run_id)
            return _finish(ended, facts, parent, report_to)


def _with_own_data(settings: Settings, out: Path) -> Settings:
    """Use the requested number of chains, as data sets in the study's directory.

    Validation chains that are not among them choose nothing: they are test sets.

    Raises:
        ConfigError: A test set has the name of one that would be held out.
    """
    study, data = settings.study, settings.data
    changed: dict[str, Any] = {}
    if count := study.train_chains:
        changed["data.train"] = subset.take(data.train, count, out / _DATA / f"train-first-{count}")
    if count := study.valid_chains:
        folders = out / _DATA / f"valid-first-{count}", out / _DATA / f"valid-after-{count}"
        changed["data.valid"], rest = subset.divide(data.valid, count, *folders)
        held_out_sets = {f"{name}_held_out": path for name, path in rest.items()}
        if taken := sorted(held_out_sets.keys() & data.test.keys()):
            raise ConfigError(
                f"data.test: {taken[0]!r} is the name of the chains that study.valid_chains leaves over",
                remedy="rename the set, or remove study.valid_chains",
            )
        changed["data.test"] = {**held_out_sets, **data.test}
    return settings.replace(changed) if changed else settings


def _check_earlier(planned: Plan, ledger: Ledger, backbone: str) -> None:
    """Refuse a directory whose runs had the same values and other settings, other data or another backbone."""
    study = planned.study
    every = [arm.run(values, seed) for arm in planned.arms for values in arm.tries for seed in study.seeds]
    known = [run for run in every if ledger.find(run) is not None]
    prepare = sharing.Preparer()
    ledger.check(
        {trial_name(run): prepare(trial.settings_of(planned.base, run, ledger.out)).digest for run in known}
    )
    digests = findings.digests(planned.base.data)
    content = {
        "backbone": backbone,
        **{
            split: {name: one["digest"] for name, one in digests[split].items()}
            for split in ("train", "valid")
        },
    }
    file = ledger.out / _CONTENT
    if file.exists() and known and sealed.read_json(file) != content:
        raise ConfigError(
            "the study's directory holds runs on other data or another backbone",
            where=str(ledger.out),
            remedy="use another run.dir, or start again with train.resume=false",
        )
    sealed.write_json(file, content)


def _run(planned: Plan, settings: Settings, ledger: Ledger, context: trial.TrialContext) -> FinishedStudy:
    """Tries, choices, the other seeds; then the test sets and baselines."""
    _run_missing(planned, planned.tries(), planned.all_runs({}), ledger, context)
    chosen = plan.choose(planned, finished(ledger))
    repeats = planned.repeats(chosen)
    if context.in_process:  # in processes of their own, so that their peak memory is measured
        objectives = [*planned.base.search.objectives, "peak_memory"]
        context = replace(context, settings=context.settings.replace({"search.objectives": objectives}))
    _run_missing(planned, repeats, plan.unique([*planned.tries(), *repeats]), ledger, context)
    course.settle(planned.base.tracking.uri, ledger)
    complete = _complete(planned, chosen, ledger)
    selected = [run for arm in planned.arms if arm.name in complete for run in planned.runs(arm, complete)]
    tests = {name: paths.absolute(path) for name, path in settings.data.test.items()}
    models = [trial.settings_of(planned.base, run, ledger.out) for run in plan.unique(selected)]
    held_out.predict(models, tests, settings.search.max_concurrent)
    names = baselines.predict(
        settings.data,
        settings.evaluate.baselines,
        ledger.out,
        task=settings.task,
        ss3_map=settings.ss3_map,
        seed=settings.train.seed,
    )
    leakage = leakage_of(list(settings.data.train.values()), settings.data.test)
    return FinishedStudy(planned, settings, ledger, complete, names, leakage)


def _complete(planned: Plan, chosen: Mapping[str, Overrides], ledger: Ledger) -> dict[str, Overrides]:
    """The values of the arms whose runs all finished.

    Raises:
        LiftrayError: There is no such arm.
    """
    ended = finished(ledger)
    complete = {
        arm.name: chosen[arm.name]
        for arm in planned.arms
        if arm.name in chosen and all(trial_name(run) in ended for run in planned.runs(arm, chosen))
    }
    if not complete:
        reasons = "; ".join(dict.fromkeys(one.reason for one in ledger.trials if one.state == "error"))
        raise LiftrayError(
            f"no arm is complete ({reasons[:500] or 'runs were interrupted'})",
            where=str(ledger.out),
            remedy="fix that and rerun the same command",
        )
    return complete


def _run_missing(
    planned: Plan,
    wanted: Sequence[Overrides],
    every: Sequence[Overrides],
    ledger: Ledger,
    context: trial.TrialContext,
) -> None:
    """Run those of the wanted runs that have not ended.

    Raises:
        LiftrayError: The budget of hours or money is spent.
    """
    base = planned.base
    budget = stopping.Budget(base.search, lambda: ledger.seconds)
    turn = rounds.listed(base, ledger, wanted, base.train.epochs)
    if turn.left and budget.spent() is None:
        show_line(f"study: {turn.left} of {len(wanted)} runs are to be run")
        costs = estimate.costs(base, every, estimate.residues_of(base, prepare_run(base)))
        at_a_time, names = base.search.max_concurrent, _names(planned, every)
        board = StudyBoard(names, costs, at_a_time, rounds.first(base.search), lambda: ledger.seconds)
        rounds.run(context, ledger, turn, board)
    ended = {one.name for one in ledger.trials if one.state in ("finished", "error")}
    left = sum(trial_name(run) not in ended for run in wanted)
    if left:
        raise LiftrayError(
            f"{left} runs are left ({budget.spent() or 'they were interrupted'})",
            where=str(ledger.out),
            remedy="rerun the same command, with a larger budget where one is spent",
        )


def _names(planned: Plan, every: Sequence[Overrides]) -> dict[str, str]:
    """Run -> arms, chosen values and seed in words."""
    names: dict[str, str] = {}
    wanted = {trial_name(run) for run in every}
    for arm in planned.arms:
        for values in arm.tries:
            for seed in planned.study.seeds:
                name = trial_name(arm.run(values, seed))
                text = ", ".join(f"{key} {value}" for key, value in {**values, "seed": seed}.items())
                if name in wanted:
                    names.setdefault(name, f"{arm.name}, {text}")
    return names


def _facts(
    settings: Settings, ended: FinishedStudy, backbone: Mapping[str, Any], command: str, run_id: str
) -> dict[str, Any]:
    """What the findings hold for: the machine, the versions, the data and the settings."""
    config = settings.model_dump(mode="json", exclude_defaults=True)
    duration = f"{ended.ledger.seconds / 60:.0f} minutes, {len(ended.ledger.trials)} runs"
    return {
        "study": Path(settings.run.dir).name,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "duration": f"{duration}, {settings.search.max_concurrent} at a time",
        "training": f"at most {settings.train.epochs} epochs, {settings.train.patience} without a better score end it",
        "backbone": dict(backbone),
        "data": findings.digests(ended.settings.data),
        "config_digest": settings.digest(),
        "mlflow_run": run_id,
        "hardware": hardware(),
        "versions": versions(),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    }


def _finish(
    ended: FinishedStudy, facts: Mapping[str, Any], parent: MlflowRun, report_to: Path | None
) -> dict[str, Any]:
    gathered = findings.gather(ended)
    out, name = ended.ledger.out, str(facts["study"])
    paths = study_report.write(gathered, facts, out, "report")
    copy = study_report.write(gathered, facts, report_to, f"{facts['date'][:10]}-{name}") if report_to else {}
    summary = {
        "job": "study",
        "run_id": parent.run_id,
        "report": paths,
        **({"copy": copy} if copy else {}),
        "claims": {
            one: {key: claim[key] for key in ("says", "verdict", "sentence")}
            for one, claim in gathered["claims"].items()
        },
        "arms": gathered["arms"],
        "incomplete": gathered["incomplete"],
        "runs": [one.row() for one in ended.ledger.trials],
        "seconds": round(ended.ledger.seconds, 1),
    }
    for path in paths.values():
        parent.log_artifacts(path)
    for arm, one in gathered["arms"].items():
        parent.log_metrics({f"{arm}/{which}/{key}": row[key] for which, row in one["scores"].items()
                            for key in gathered["scores"]})  # fmt: skip
    files.write_json(out / SUMMARY, summary)
    if gathered["incomplete"]:
        raise LiftrayError(
            f"{len(gathered['incomplete'])} arms are incomplete and left out of the report "
            f"({study_report.gaps(gathered)})",
            where=str(out),
            remedy="fix that and rerun the same command: only what is missing is run",
        )
    return summary
