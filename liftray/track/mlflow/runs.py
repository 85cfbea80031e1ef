"""An MLflow run: what went in, how it went, what came out.

Invariant: a run ends as FINISHED, FAILED or KILLED, never as RUNNING, when its `with` block is left;
everything goes through one client of one store, so no process-wide MLflow state is read or left behind. Flow:
config -> [this] <- train, evaluate; then registry.

The driver owns the run (`start_run`); a Ray Train controller in another process writes to it by `attach`.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from liftray.config import Settings, to_yaml
from liftray.errors import LiftrayError, TrackingError
from liftray.progress import show_line
from liftray.sections.kinds import ADAPTERS
from liftray.track.mlflow.store import artifact_root, check, client, mlflow_errors, redacted
from liftray.track.provenance import code_tags

__all__ = ["Run", "attach", "check", "start_run"]

_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 5000
_DIGEST_CHARACTERS = 36  # MLflow's limit; the whole digest stands in the input's tags
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_NOT_IN_NAMES = re.compile(r"[^\w\-./ ]", re.ASCII)


class Run:
    """A run of one store. As a context manager, its owner: it ends the run when the block is left.

    Attributes:
        uri: Address of the store, usable from any process.
        run_id: MLflow's name of the run.
    """

    def __init__(self, uri: str, run_id: str, *, system_metrics_s: float | None = None) -> None:
        self.uri, self.run_id = uri, run_id
        self._client = client(uri)
        self._system_metrics_s = system_metrics_s
        self._monitor: Any = None

    def __enter__(self) -> Self:
        """Start the sampling of system metrics."""
        if self._system_metrics_s is not None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(
                self.run_id,
                sampling_interval=self._system_metrics_s,
                resume_logging=True,
                tracking_uri=self.uri,
            )
            self._monitor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run: FINISHED, KILLED on an interrupt, FAILED on any other exception."""
        if self._monitor is not None:
            self._monitor.finish()
        try:
            if error is not None:
                self.tag({"liftray.error": f"{type(error).__name__}: {error}"})
            with mlflow_errors(self.uri):
                self._client.set_terminated(self.run_id, status=_status(error))
        except LiftrayError as lost:
            if error is None:
                raise
            show_line(
                f"The run {self.run_id} could not be closed: {lost}"
            )  # the first failure is what the user must see

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log the metrics of one step; None is left out."""
        self.log_steps([(step, metrics)])

    def log_steps(self, steps: Iterable[tuple[int, Mapping[str, float | None]]]) -> None:
        """Log many steps in few calls.

        Args:
            steps: (step, metric name -> value). Characters that MLflow refuses in names become `_`.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        from mlflow.entities import Metric

        now = _now_ms()
        found = [
            Metric(metric_name(name), float(value), now, step)
            for step, metrics in steps
            for name, value in metrics.items()
            if value is not None
        ]
        with mlflow_errors(self.uri):
            for start in range(0, len(found), _METRICS_PER_CALL):
                self._client.log_batch(self.run_id, metrics=found[start : start + _METRICS_PER_CALL])

    def log_scores(self, prefix: str, scores: Mapping[str, Any], step: int = 0) -> None:
        """Log the numbers of one set under `PREFIX/NAME`, such as `test/CASP12/q3`; an interval as `_low`,
        `_high`.

        Args:
            prefix: `valid`, or `test/NAME`.
            scores: As in `metrics.json`; what is neither a number nor a pair of numbers is left out.
            step: Where they stand among those of the epochs; the last step is what MLflow shows.
        """
        found: dict[str, float] = {}
        for name, value in scores.items():
            if _is_number(value):
                found[f"{prefix}/{name}"] = value
            elif isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
                found[f"{prefix}/{name}_low"], found[f"{prefix}/{name}_high"] = value
        self.log_metrics(found, step=step)

    def log_dataset(self, split: str, name: str, digest: str, path: str) -> None:
        """Name a data set that the run used.

        Args:
            split: `train`, `valid` or `test`.
            name: Its name in the config.
            digest: Content digest from its `dataset.json`.
            path: Where it was read from.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"path": str(path), "digest": digest})
        dataset = Dataset(name, digest.rpartition(":")[2][:_DIGEST_CHARACTERS], "local", source)
        tags = [InputTag("mlflow.data.context", split), InputTag("liftray.digest", digest)]
        with mlflow_errors(self.uri):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_artifacts(self, path: str | Path, folder: str | None = None) -> None:
        """Store a file, or what a directory holds, under `folder` of the run."""
        path = Path(path)
        with mlflow_errors(self.uri):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Store a text as a file of the run."""
        with mlflow_errors(self.uri):
            self._client.log_text(self.run_id, text, name)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; MLflow keeps the first value of each, later ones go to `liftray.resumed_with`."""
        from mlflow.entities import Param

        texts = {key: _param(value) for key, value in params.items()}
        with mlflow_errors(self.uri):
            known = self._client.get_run(self.run_id).data.params
            new = [Param(key, text) for key, text in texts.items() if key not in known]
            for start in range(0, len(new), _PARAMS_PER_CALL):
                self._client.log_batch(self.run_id, params=new[start : start + _PARAMS_PER_CALL])
        changed = {key: text for key, text in texts.items() if known.get(key, text) != text}
        if changed:
            self.tag({"liftray.resumed_with": json.dumps(changed)})

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, cut to MLflow's length."""
        from mlflow.entities import RunTag

        with mlflow_errors(self.uri):
            self._client.log_batch(
                self.run_id, tags=[RunTag(key, v[:_TAG_CHARACTERS]) for key, v in tags.items()]
            )


def start_run(
    settings: Settings,
    *,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    system_metrics_s: float | None = 10.0,
) -> Run:
    """Open a run, or go on with one, and log config, code and versions.

    Args:
        settings: Resolved config; `tracking` says where.
        run_id: A run of this store to go on with.
        parent_run_id: The run of the search that this one is a trial of.
        tags: More tags.
        system_metrics_s: Seconds between two samples of CPU, memory, disk, network and GPU; None samples
            nothing.

    Returns:
        The run, to be used as a context manager.

    Raises:
        TrackingError: The store cannot be used, or has no such run or experiment any more.
    """
    uri = check(settings.tracking.uri)
    if run_id is None:
        run = Run(uri, _create(uri, settings), system_metrics_s=system_metrics_s)
        name = "config.yaml"
    else:
        run = _reopen(uri, run_id, system_metrics_s)
        name = "config.resumed.yaml"
    shown = redacted(settings.tracking.uri)
    try:
        run.log_params({**settings.flat(), "tracking.uri": shown})
        run.log_text(to_yaml(settings).replace(settings.tracking.uri, shown), name)
        run.tag(
            {
                **code_tags(),
                **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {}),
                **(tags or {}),
            }
        )
    except BaseException as error:
        with run:  # ends it: a run that could not be described is not left as running
            raise error
    return run


def attach(uri: str, run_id: str) -> Run:
    """The same run from another process, to log to; used outside `with`, it never ends the run."""
    return Run(uri, run_id)


def _create(uri: str, settings: Settings) -> str:
    from mlflow.exceptions import MlflowException

    store, experiment = client(uri), settings.tracking.experiment
    with mlflow_errors(uri):
        found = store.get_experiment_by_name(experiment)
        if found is None:
            try:
                experiment_id = store.create_experiment(
                    experiment, artifact_location=artifact_root(uri, experiment)
                )
            except MlflowException:
                found = store.get_experiment_by_name(experiment)  # another process was first
                if found is None:
                    raise
        if found is not None:
            if found.lifecycle_stage != "active":
                raise TrackingError(
                    f"experiment {experiment!r} is deleted",
                    where=redacted(uri),
                    remedy=f"restore experiment {found.experiment_id}, or change tracking.experiment",
                )
            experiment_id = found.experiment_id
        name = settings.tracking.run_name or _run_name(settings)
        return str(store.create_run(experiment_id, run_name=name).info.run_id)


def _reopen(uri: str, run_id: str, system_metrics_s: float | None) -> Run:
    try:
        with mlflow_errors(uri):
            info = client(uri).get_run(run_id).info
            if info.lifecycle_stage != "active":
                raise TrackingError(f"run {run_id} is deleted", where=redacted(uri))
            client(uri).update_run(run_id, status="RUNNING")
    except TrackingError as error:
        raise TrackingError(
            f"cannot go on with run {run_id} ({error.what})",
            where=redacted(uri),
            remedy="use the tracking.uri it was started with, or set train.resume=false",
        ) from error
    return Run(uri, run_id, system_metrics_s=system_metrics_s)


def _run_name(settings: Settings) -> str:
    parts: list[str] = [settings.task, settings.method]
    adapter = settings.adapter
    if settings.method == "full":
        parts.append(f"k{adapter.skip_layers}")
    elif settings.method == "adapter":
        has_width = "reduction_factor" in ADAPTERS[adapter.kind].reads
        width = [f"r{adapter.reduction_factor}"] if has_width else []
        parts = [settings.task, adapter.kind, *width, f"k{adapter.skip_layers}"]
    return "-".join([*parts, settings.head.kind, f"seed{settings.train.seed}"])


def _status(error: BaseException | None) -> str:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "FINISHED"
    interrupted = isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and error.code == 130
    )
    return "KILLED" if interrupted else "FAILED"


def _param(value: object) -> str:
    text = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _PARAM_CHARACTERS else f"{text[: _PARAM_CHARACTERS - 3]}..."


def metric_name(name: str) -> str:
    """The name as MLflow takes it: characters that it refuses become `_`."""
    return _NOT_IN_NAMES.sub("_", name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
