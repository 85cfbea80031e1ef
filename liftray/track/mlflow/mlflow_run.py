"""One MLflow run: what is logged to it, and how it ends.

Invariant: a run ends as FINISHED, FAILED or KILLED, never as RUNNING, when its `with` block is left. All calls go
through one client of one store, so no process-wide MLflow state is read or left behind. No text that is logged holds a
credential of an address. Flow: runs -> [this] <- train,
search, study.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from liftray.errors import LiftrayError
from liftray.progress import show_line
from liftray.redaction import redacted
from liftray.track.mlflow.store import client, mlflow_errors

# The scores that are metrics of a run; all others are in its table of scores.
HEADLINES = ("q3", "q8", "q9", "macro_f1", "mcc", "sov99", "nll", "ece")
SCORE_COLUMNS = ["model", "set", "score", "value", "ci95_low", "ci95_high"]
_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 5000
_DIGEST_CHARACTERS = 36  # MLflow's limit; the whole digest is in the input's tags
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_NOT_IN_NAMES = re.compile(r"[^\w\-./ ]", re.ASCII)


class MlflowRun:
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
        """Log the headline scores of one set under `PREFIX/NAME`, such as `test/CASP12/q3`.

        A run page shows metrics by name, so intervals, counts and baselines go to `log_score_table` instead.

        Args:
            prefix: `valid`, or `test/NAME`.
            scores: As in `metrics.json`.
            step: Their step among those of the epochs; MLflow shows the last step.
        """
        shown = {f"{prefix}/{name}": scores[name] for name in HEADLINES if _is_number(scores.get(name))}
        self.log_metrics(shown, step=step)

    def log_score_table(self, rows: Iterable[tuple[Any, ...]], name: str = "scores.json") -> None:
        """Store all scores as a table, which MLflow's run page shows; a table of an earlier attempt is replaced.

        Args:
            rows: (model, set, score, value, lower end, upper end) of each score.
            name: The artifact's name.
        """
        self.log_text(json.dumps({"columns": SCORE_COLUMNS, "data": [list(row) for row in rows]}), name)
        self.tag({"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])})

    def log_dataset(self, split: str, name: str, digest: str, path: str) -> None:
        """Name a data set that the run used.

        Args:
            split: `train`, `valid` or `test`.
            name: Its name in the config.
            digest: Content digest from its `dataset.json`.
            path: Where it was read from.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"path": redacted(str(path)), "digest": digest})
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
            self._client.log_text(self.run_id, redacted(text), name)

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
                self.run_id, tags=[RunTag(key, redacted(v)[:_TAG_CHARACTERS]) for key, v in tags.items()]
            )


def _status(error: BaseException | None) -> str:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "FINISHED"
    interrupted = isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and error.code == 130
    )
    return "KILLED" if interrupted else "FAILED"


def _param(value: object) -> str:
    text = redacted(json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value))
    return text if len(text) <= _PARAM_CHARACTERS else f"{text[: _PARAM_CHARACTERS - 3]}..."


def metric_name(name: str) -> str:
    """The name as MLflow takes it: characters that it refuses become `_`."""
    return _NOT_IN_NAMES.sub("_", name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
