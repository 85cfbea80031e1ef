"""Metrics on their way to MLflow: on disk first, sent when the store answers, in order, with their own times.

Invariant: every metric passed to `log` is in the file or in the store. When the store does not answer, `log` neither
raises nor waits long, so an outage does not stop training. Sending twice changes nothing: MLflow keeps one value for a
name, step and time. Flow: reporter -> [this] -> MLflow; the run's owner drains it at the end.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liftray.documents import parse_json
from liftray.errors import InputError, TrackingError
from liftray.progress import show_line
from liftray.redaction import redacted
from liftray.track.mlflow.store import client, mlflow_errors, short_timeouts

FILE = "metrics.pending.jsonl"
_METRICS_PER_CALL = 1000
_KEYS = {"run", "time", "step", "metrics"}
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class Outbox:
    """The unsent metrics of one run.

    Args:
        uri: The store.
        run_id: MLflow's run.
        folder: The run's directory, on a persistent disk; one file in it holds the unsent metrics.
    """

    def __init__(self, uri: str, run_id: str, folder: str | Path) -> None:
        self._uri, self._run_id, self.file = uri, run_id, Path(folder) / FILE

    def log(self, metrics: Mapping[str, float | None], step: int) -> bool:
        """Keep the metrics of one step, and send all that is kept.

        Args:
            metrics: Name -> value; None is left out.
            step: Their step.

        Returns:
            Whether all is sent. The start of an outage is reported once.
        """
        from liftray.track.mlflow.mlflow_run import metric_name

        with self._locked():
            before = self._pending()
            values = {metric_name(name): float(v) for name, v in metrics.items() if v is not None}
            self._keep(
                {"run": self._run_id, "time": time.time_ns() // 1_000_000, "step": step, "metrics": values}
            )
            try:
                with short_timeouts():
                    self._send()
            except TrackingError as error:
                if not before:
                    show_line(
                        f"MLflow does not take metrics ({error.what}); they are kept in {self.file} and sent later"
                    )
                return False
            if before:
                show_line(f"MLflow answers again; the metrics of {len(before)} earlier steps are sent")
        return True

    def drain(self, patience_s: float) -> int:
        """Send what is left, waiting for the store where it does not answer.

        Args:
            patience_s: How long to retry.

        Returns:
            Steps that were sent.

        Raises:
            TrackingError: It did not answer in time; the metrics are still in the file.
        """
        until, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
        while True:
            try:
                with self._locked(), short_timeouts():
                    return self._send()
            except TrackingError as error:
                left = until - time.monotonic()
                if left <= 0:
                    raise TrackingError(
                        f"MLflow does not take metrics ({error.what}); they are kept in {self.file}",
                        where=redacted(self._uri),
                        remedy="run the same command again when it answers",
                    ) from error
                show_line(f"waiting for MLflow ({error.what}), at most {left:.0f} s more")
                time.sleep(min(wait_s, left))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _locked(self) -> Any:
        import filelock

        return filelock.FileLock(f"{self.file}.lock")

    def _keep(self, record: Mapping[str, Any]) -> None:
        with self.file.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")  # a writer was killed in mid-line
            file.write(json.dumps({**record, "sha256": _digest(record)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _pending(self) -> list[dict[str, Any]]:
        """Whole records of this run.

        A line that a killed writer left half-written was never promised; a whole line that has changed is left out
        with a message.
        """
        if not self.file.exists():
            return []
        lines = self.file.read_bytes().split(b"\n")
        found = [_record(line) for line in lines[:-1] if line]
        if damaged := found.count(None):
            show_line(f"{damaged} damaged lines in {self.file} are not sent to MLflow")
        return [record for record in found if record is not None and record["run"] == self._run_id]

    def _send(self) -> int:
        from mlflow.entities import Metric

        pending = self._pending()
        found = [
            Metric(name, value, record["time"], record["step"])
            for record in pending
            for name, value in record["metrics"].items()
        ]
        with mlflow_errors(self._uri):
            for start in range(0, len(found), _METRICS_PER_CALL):
                client(self._uri).log_batch(self._run_id, metrics=found[start : start + _METRICS_PER_CALL])
        self.file.unlink(missing_ok=True)
        return len(pending)


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it has changed. Version 0.1 wrote no digest."""
    try:
        record = parse_json(line, where="outbox")
        digest = record.pop("sha256", None) if isinstance(record, dict) else None
        if (
            not isinstance(record, dict)
            or record.keys() != _KEYS
            or (digest is not None and digest != _digest(record))
        ):
            return None
        whole = isinstance(record["metrics"], dict) and isinstance(record["step"], int)
    except InputError:
        return None
    return record if whole and isinstance(record["time"], int) else None


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    last = file.read(1)
    return bool(last == b"\n")
