"""One trial: a whole training run under Ray Tune.

Invariant: a trial sees training and validation data only. Its results are in its own directory before they are reported
to Tune. So a trial that is stopped, killed or paused at any moment resumes from there. Tune restarts a trial only when
its process dies; an error of the run itself is recorded and not retried.
Flow: tune -> [this] -> inprocess, or launch and a Ray Train worker group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from liftray import files, sealed
from liftray.adapt.tagger import TaggerSettings
from liftray.config import Settings
from liftray.data.dataset import ProteinDataset
from liftray.errors import TrackingError, find_liftray_error
from liftray.evaluate import evaluation_report
from liftray.evaluate.scoring import predict_set
from liftray.plain_text import one_line
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.progress import show_line
from liftray.search import inprocess
from liftray.search.ledger import TRIALS
from liftray.search.space import trial_name
from liftray.track.mlflow import runs
from liftray.track.mlflow.outbox import Outbox
from liftray.train import checkpoint, launch
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.rank_job import STORE
from liftray.train.reporter import Reporter, reported_epochs
from liftray.train.resume import RUN_FILE, earlier_run

EPOCHS_DONE = "epochs_done"
FAILURE, CHAINS = "failure.json", "validation.parquet"


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a search have in common.

    Attributes:
        settings: Of the search; addresses and directories absolute.
        parent_run_id: The search's MLflow run.
        in_process: Whether a trial trains in its own process.
        replayed: Whether epochs that an earlier process trained are reported to the scheduler again.
    """

    settings: Settings
    parent_run_id: str
    in_process: bool
    replayed: bool


def settings_of(
    settings: Settings, overrides: Mapping[str, Any], out: Path, cached: bool | None = None
) -> Settings:
    """The settings of one trial: no test set, no registry, a directory and a name of its own."""
    name = trial_name(overrides)
    return settings.replace(
        {
            **overrides,
            "run.dir": str(out / TRIALS / name),
            "registry.name": "",
            "data.test": {},
            "evaluate.baselines": [],
            "train.checkpoint_steps": 0,
            "tracking.run_name": name,
            **({} if cached is None else {"cache.enabled": cached}),
            "search.space": {},
        }
    )


def run(context: TrialContext, overrides: Mapping[str, Any], cached: bool) -> None:
    """Run a trial to its end, in the process that Tune started for it.

    Args:
        context: What all trials have in common.
        overrides: The trial's values.
        cached: Whether it reads a stored frozen prefix.
    """
    ours = settings_of(context.settings, overrides, Path(context.settings.run.dir), cached)
    run_dir = Path(ours.run.dir)
    files.make_directories(run_dir)
    (run_dir / FAILURE).unlink(missing_ok=True)
    try:
        _run(context, ours, run_dir)
    except Exception as error:  # Tune would restart the trial, which helps only when its process was lost
        known = find_liftray_error(error)
        message = one_line(known or f"{type(error).__name__}: {error}")
        sealed.write_json(run_dir / FAILURE, {"error": message[:2000]})


def _run(context: TrialContext, ours: Settings, run_dir: Path) -> None:
    prepared = prepare_run(ours)
    run_id = earlier_run(run_dir, ours.train, ours.tracking.uri)
    tags = {"liftray.search": "trial"}
    tracked = runs.start_run(
        ours, run_id=run_id, parent_run_id=context.parent_run_id, tags=tags, system_metrics_s=None
    )
    sealed.write_json(run_dir / RUN_FILE, {"run_id": tracked.run_id, "tracking_uri": tracked.uri})
    reporter = Reporter(tracked.uri, tracked.run_id, run_dir)
    earlier = checkpoint.newest(run_dir.resolve() / STORE)
    if earlier is not None:
        _report_earlier(context, earlier.progress, reporter, run_dir)
    ended = _fit(context, prepared, run_dir, reporter)
    (_score if context.in_process else _score_as_worker)(prepared, ended, run_dir)
    try:
        Outbox(tracked.uri, tracked.run_id, run_dir).drain(0)
    except TrackingError as error:
        show_line(str(error))  # the search retries for longer when all trials have ended
    tune.report({**tune_metrics(ended.progress.history[-1]), "done": True})


def _report_earlier(context: TrialContext, progress: Progress, reporter: Reporter, run_dir: Path) -> None:
    """Report the epochs of an earlier process: to MLflow those that it has not, to the scheduler all."""
    known = reported_epochs(run_dir)
    for record in progress.history:
        if record["epoch"] not in known:
            reporter.after_report(None, [record], None)
    if context.replayed:
        for record in progress.history[:-1] if progress.finished else progress.history:
            tune.report(tune_metrics(record))


def _fit(context: TrialContext, prepared: PreparedRun, run_dir: Path, reporter: Reporter) -> Checkpoint:
    if not context.in_process:
        return launch.fit(prepared, run_dir, [reporter, _ToTune()])

    def report(record: dict[str, Any], state: Checkpoint) -> None:
        reporter.after_report(None, [record], None)
        if not state.progress.finished:  # the last epoch is reported when the trial has ended
            tune.report(tune_metrics(record))

    if prepared.settings.cache.enabled:
        prepared = inprocess.with_stored_prefix(prepared)
    return inprocess.fit(prepared, run_dir, report)


class _ToTune(TuneReportCallback):
    """Sends epochs from Ray Train's controller to Tune, in the form that the schedulers need."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if "train/loss" in metrics[0]:
            super().after_report(run_context, [tune_metrics(metrics[0])], None)


def tune_metrics(record: Mapping[str, Any]) -> dict[str, Any]:
    """An epoch's record as metrics for Tune, which counts epochs from 1."""
    numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
    return {**numbers, EPOCHS_DONE: int(record["epoch"]) + 1}


def _score(prepared: PreparedRun, ended: Checkpoint, run_dir: Path) -> None:
    """Predict the validation chains with the best weights, for the intervals of the search's report."""
    if (run_dir / CHAINS).exists():
        return
    ours, predictor = prepared.settings, predictor_of(prepared, ended)
    tables = []
    for name, path in ours.data.valid.items():
        table = evaluation_report.per_protein(predict_set(predictor, ProteinDataset.open(path), ours.ss3_map))
        names = pa.array([f"{name}/{one}" for one in table.column("id").to_pylist()])
        tables.append(table.set_column(0, "id", names))
    sealed.write_table(run_dir / CHAINS, pa.concat_tables(tables))


def _score_as_worker(prepared: PreparedRun, ended: Checkpoint, run_dir: Path) -> None:
    """Score with the resources of one of the run's workers, which have ended: this process has no CPU or GPU."""
    scaling = prepared.settings.scaling
    task = ray.remote(
        num_cpus=scaling.cpus_per_worker,
        num_gpus=int(scaling.use_gpu),
        # Not in the trial's own placement group, which has no resources.
        scheduling_strategy=PlacementGroupSchedulingStrategy(None),
    )(_score)
    ray.get(task.remote(prepared, ended, run_dir))


def predictor_of(prepared: PreparedRun, ended: Checkpoint) -> Predictor:
    """The best weights of a run, ready to predict."""
    ours = prepared.settings
    model = bundle.assemble(prepared.backbone, TaggerSettings.of(ours), ours.backbone.dtype, ended.best)
    return Predictor.of(model, {"ss3_map": ours.ss3_map}, use_gpu=ours.scaling.use_gpu)
