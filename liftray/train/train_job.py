"""The main job: protein data sets in, a registered adapter model out.

Invariant: invalid input is refused before the run directory exists. After that, the same command resumes a killed run,
in the same MLflow run, and does not change a finished one. Read on in `prepare`, `launch`, `rank` and `step`.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liftray import files, library_log, sealed
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.config import DataSettings, Settings
from liftray.data.dataset import ProteinDataset, describe_sets
from liftray.errors import TrackingError
from liftray.evaluate import evaluation_report
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.scoring import (
    baseline_sets,
    calibration_of,
    compare_sets,
    leakage_of,
    predict_sets,
    score_sets,
)
from liftray.evaluate.verdict import verdict
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.predict.training_sketch import sketch
from liftray.progress import show_line
from liftray.results import score_rows
from liftray.track.mlflow import runs, versions
from liftray.track.mlflow.mlflow_run import MlflowRun
from liftray.track.mlflow.outbox import Outbox
from liftray.train import batch_report, cluster, launch, memory
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.reporter import Reporter, follow
from liftray.train.resume import RUN_FILE, SUMMARY, earlier_run, finished_summary, request_digest
from liftray.train.step_log import STEP_LOSSES, write_losses

BUNDLE, FROZEN = "bundle", "frozen"
# How long a finished run waits for a tracking store that does not answer.
_DRAIN_S = 600.0


@dataclass(frozen=True)
class TrainedRun:
    """The result of Ray Train.

    Attributes:
        prepared: The run.
        checkpoint: The last checkpoint, which holds the best weights.
        model: The best weights, in memory.
        info: The part of `bundle.json` that `Predictor` reads, with the temperature fitted on the validation sets.
    """

    prepared: PreparedRun
    checkpoint: Checkpoint
    model: Tagger
    info: dict[str, Any]

    def predictor(self) -> Predictor:
        """The model ready to predict, on the GPU if the run has one; call it when no worker needs the GPU any more."""
        return Predictor.of(self.model, self.info, use_gpu=self.prepared.settings.scaling.use_gpu)


def train(settings: Settings, parent_run_id: str | None = None) -> dict[str, Any]:
    """Train, evaluate, log and register a run; one that is finished already is left as it is.

    Args:
        settings: The run's settings.
        parent_run_id: The MLflow run of the search that this run is a trial of.

    Returns:
        The content of `summary.json`.

    Raises:
        InputError: The user's input is invalid; nothing was written.
    """
    prepared = prepare_run(settings)
    show_line(describe_sets(_splits(settings.data)))
    show_line(prepared.backbone.describe())
    memory.report(settings, prepared.backbone)
    batch_report.report(prepared)
    files.check_writable(settings.run.dir)
    uri, run_dir = runs.check(settings.tracking.uri), Path(settings.run.dir).resolve()
    finished = finished_summary(prepared, run_dir)
    if finished is not None and _is_recorded(finished, uri):
        show_line(f"already finished: {finished['model_uri']}")
        return finished
    cluster.check(settings.run, settings.scaling)
    with cluster.connected(settings.run, settings.scaling), files.sole_user(run_dir, "run"):
        library_log.keep_in(run_dir / "logs" / "train.log")
        run_id = earlier_run(run_dir, settings.train, uri)
        with runs.start_run(settings, run_id=run_id, parent_run_id=parent_run_id) as run:
            _begin(run_dir, {"run_id": run.run_id, "tracking_uri": uri, "request": request_digest(prepared)})
            _log_data(run, settings.data)
            trained = _fit(prepared, run_dir, settings, Reporter(uri, run.run_id, run_dir), "train")
            frozen = _fit_frozen(settings, run_dir, uri)
            return _finish(settings, run, run_dir, trained, frozen)


def _begin(run_dir: Path, run: Mapping[str, str]) -> None:
    """Record the run that the directory holds from now on; the summary of an earlier one is not its own."""
    (run_dir / SUMMARY).unlink(missing_ok=True)
    sealed.write_json(run_dir / RUN_FILE, run)


def _is_recorded(summary: Mapping[str, Any], uri: str) -> bool:
    """Whether the registered version of a finished run is still in the registry."""
    try:
        versions.locate(summary["model_uri"], uri)
    except TrackingError:
        return False
    return True


def _fit(
    prepared: PreparedRun, run_dir: Path, settings: Settings, reporter: Reporter, title: str
) -> TrainedRun:
    epochs, patience = settings.train.epochs, settings.train.patience
    steps = functools.cache(prepared.feed.num_steps)
    with follow(run_dir, epochs, title, steps, settings.train.max_failures):
        saved = launch.fit(prepared, run_dir, [reporter])
    if (done := len(saved.progress.history)) < epochs:
        show_line(f"{title}: stopped at epoch {done} of {epochs}: no better for {patience}")
    model = bundle.assemble(
        prepared.backbone, TaggerSettings.of(settings), settings.backbone.dtype, saved.best
    )
    info: dict[str, Any] = {"ss3_map": settings.ss3_map, "calibration": {"temperature": 1.0}}
    trained = TrainedRun(prepared, saved, model, info)
    if settings.evaluate.calibrate:
        info["calibration"] = calibration_of(trained.predictor(), settings.data.valid, settings.ss3_map)
        model.to("cpu")
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # the frozen baseline's workers are next on it
    return trained


def frozen_settings(settings: Settings) -> Settings:
    """The same run with only the head to train, from random weights: a start bundle has other parameters."""
    return settings.replace({"method": "features", "train.start_from": ""})


def _fit_frozen(settings: Settings, run_dir: Path, uri: str) -> TrainedRun | None:
    """Train the same head on the frozen backbone under the same settings: the baseline of the adapters."""
    if FROZEN not in settings.evaluate.baselines or settings.method == "features":
        return None
    plain = frozen_settings(settings)
    directory = run_dir / "baselines" / FROZEN
    directory.mkdir(parents=True, exist_ok=True)
    return _fit(prepare_run(plain), directory, plain, Reporter(uri, None, directory), "frozen baseline")


def _finish(
    settings: Settings, run: MlflowRun, run_dir: Path, trained: TrainedRun, frozen: TrainedRun | None
) -> dict[str, Any]:
    sets = _sets(settings.data)
    predicted = predict_sets(trained.predictor(), sets, settings.ss3_map)
    baselines = _baselines(settings, predicted, frozen)
    resamples = settings.evaluate.resamples
    metrics = score_sets(predicted, resamples=resamples)
    baseline_scores = {
        name: score_sets(baseline, resamples=resamples) for name, baseline in baselines.items()
    }
    paired = {
        name: compare_sets(predicted, baseline, resamples=resamples) for name, baseline in baselines.items()
    }
    leaks = leakage_of(list(settings.data.train.values()), sets)
    details = {
        "data": _digests(settings.data),
        "metrics": metrics,
        "leakage": leaks,
        "run_id": run.run_id,
        "calibration": trained.info["calibration"],
    }
    training = sketch(_training_sequences(settings.data))
    info = bundle.save(trained.model, run_dir / BUNDLE, settings.backbone.source, details, training)
    evaluation = run_dir / "evaluation"
    evaluation.mkdir(exist_ok=True)
    judged = verdict(metrics, baseline_scores, paired, leaks)
    _write_report(evaluation, info, predicted, baselines, (metrics, baseline_scores, leaks, judged))
    evaluation_report.write_metrics(
        evaluation / "metrics.json", metrics, baselines=baseline_scores, leakage=leaks, paired=paired
    )
    _write_chains(evaluation, predicted)
    # Here, not above: trials of a search import this module and draw nothing.
    from liftray.train.pictures import draw

    draw(run_dir / "plots", trained.checkpoint.progress.history, metrics, predicted)
    epochs = len(trained.checkpoint.progress.history)
    registered = _register(settings, run, run_dir, metrics, baseline_scores, epochs)
    write_losses(run_dir / STEP_LOSSES, trained.checkpoint.progress.step_losses)
    summary = {
        "run_id": run.run_id,
        "model_uri": registered.get("model_uri", registered["bundle_uri"]),
        "bundle": str(run_dir / BUNDLE),
        "backbone": trained.prepared.backbone.as_dict(),
        "train": _effort(trained),
        "parameters": info["parameters"],
        "verdict": judged,
        "metrics": metrics,
        "baselines": baseline_scores,
        "paired": paired,
        "leakage": leaks,
        "tracking_uri": runs.check(settings.tracking.uri),
        "run_dir": str(run_dir),
    }
    summary = sealed.write_json(run_dir / SUMMARY, summary)
    return summary


def _sets(data: DataSettings) -> dict[str, str]:
    """Name -> path of every set that is scored: validation sets as `valid`, or `valid/NAME` if several."""
    valid = data.valid
    named = {f"valid/{name}": path for name, path in valid.items()} if len(valid) > 1 else {}
    only = {"valid": next(iter(valid.values()))} if len(valid) == 1 else {}
    return {**only, **named, **data.test}


def _baselines(
    settings: Settings, predicted: Mapping[str, PredictedSet], frozen: TrainedRun | None
) -> dict[str, dict[str, PredictedSet]]:
    names = [name for name in settings.evaluate.baselines if name != FROZEN]
    train_sets = list(settings.data.train.values())
    scored = baseline_sets(train_sets, predicted, names, seed=settings.train.seed) if names else {}
    if frozen is not None:
        scored[FROZEN] = predict_sets(frozen.predictor(), _sets(settings.data), settings.ss3_map)
    return scored


def _register(
    settings: Settings,
    run: MlflowRun,
    run_dir: Path,
    metrics: Mapping[str, Any],
    baseline_scores: Mapping[str, Mapping[str, Any]],
    epochs: int,
) -> dict[str, Any]:
    Outbox(run.uri, run.run_id, run_dir).drain(_DRAIN_S)
    for name, scores in metrics.items():
        # Under the last epoch, so that `valid/q3` of a run is the score of its best weights.
        run.log_scores(name if name.startswith("valid") else f"test/{name}", scores, epochs)
    run.log_score_table(score_rows({"model": metrics, **baseline_scores}))
    run.log_artifacts(run_dir / "plots", "plots")
    run.log_artifacts(run_dir / "evaluation", "evaluation")
    return versions.register(run_dir / BUNDLE, run.run_id, run.uri, settings.registry.name, metrics)


def _write_report(
    evaluation: Path,
    info: Mapping[str, Any],
    predicted: Mapping[str, PredictedSet],
    baselines: Mapping[str, Mapping[str, PredictedSet]],
    scored: tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]],
) -> None:
    """Write the report that `evaluate` writes, from the predictions that were made already."""
    # Here, not above: trials of a search import this module and draw nothing.
    from liftray.evaluate import evaluate_job, evaluation_files

    metrics, baseline_scores, leaks, judged = scored
    result = {"verdict": judged, "metrics": metrics, "leakage": leaks}
    result |= {"baselines": baseline_scores} if baseline_scores else {}
    facts = evaluate_job.model_facts(info, "this run")
    written = evaluation_files.Evaluation(predicted, {}, baselines, result, ("this run", ""), facts)
    evaluation_files.write(evaluation, written)


def _write_chains(evaluation: Path, predicted: Mapping[str, PredictedSet]) -> None:
    """One table a set; the gates compare two versions chain by chain on those of the validation sets."""
    for name, chains in predicted.items():
        split, _, rest = name.partition("/")
        folder, file = ("valid", rest or "valid") if split == "valid" else ("test", name)
        (evaluation / folder).mkdir(exist_ok=True)
        sealed.write_table(evaluation / folder / f"{file}.parquet", evaluation_report.per_protein(chains))


def _effort(trained: TrainedRun) -> dict[str, Any]:
    prepared, history = trained.prepared, trained.checkpoint.progress.history
    seconds = sum(record["train/seconds"] for record in history)
    seen = int(prepared.feed.train.windows.lengths.sum()) * len(history)
    return {
        "epochs": len(history),
        "best_epoch": trained.checkpoint.progress.best_epoch + 1,
        "steps": trained.checkpoint.progress.global_step,
        "residues": seen,
        "seconds": round(seconds, 3),
        "residues_per_s": round(seen / seconds, 1),
        "idle_share": round(prepared.feed.idle_share(0, prepared.settings.scaling.num_workers), 4),
        "step_losses": STEP_LOSSES,
    }


def _digests(data: DataSettings) -> dict[str, dict[str, str]]:
    return {
        split: {name: ProteinDataset.open(path).digest for name, path in paths.items()}
        for split, paths in _splits(data).items()
    }


def _training_sequences(data: DataSettings) -> Iterator[str]:
    for path in data.train.values():
        yield from (record.sequence for record in ProteinDataset.open(path).iter_records())


def _splits(data: DataSettings) -> dict[str, dict[str, str]]:
    return {"train": data.train, "valid": data.valid, "test": data.test}


def _log_data(run: MlflowRun, data: DataSettings) -> None:
    for split, digests in _digests(data).items():
        for name, digest in digests.items():
            run.log_dataset(split, name, digest, _splits(data)[split][name])
