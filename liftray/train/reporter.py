"""What the controller does with each report: metrics to MLflow, and a record for the driver, which shows it.

Invariant: only the controller and the driver write to MLflow, both on the driver's node. So an SQLite store works, and
a training step never waits for a database.
Flow: worker -> [`Reporter` in the controller] -> MLflow, progress.jsonl -> [`follow` in the driver] -> terminal.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback

from liftray.progress import on_terminal, show_line
from liftray.track.mlflow.outbox import Outbox
from liftray.train.run_lines import RunLines
from liftray.train.step_log import STEP_LOG

PROGRESS_FILE = "progress.jsonl"
_POLL_S = 0.5


class Reporter(UserCallback):
    """Logs each epoch and each loss of a worker.

    Args:
        uri: Tracking store.
        run_id: The MLflow run to log to; None logs nothing there.
        run_dir: Where progress.jsonl goes.
    """

    def __init__(self, uri: str, run_id: str | None, run_dir: Path) -> None:
        self._uri, self._run_id, self._file = uri, run_id, run_dir / PROGRESS_FILE

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Log rank 0's report of an epoch; reports in mid-epoch only carry a checkpoint."""
        record = metrics[0]
        if "train/loss" not in record:
            return
        if self._run_id is not None:
            numbers = {name: value for name, value in record.items() if "/" in name}
            # A store that does not answer stops no training: the outbox keeps the numbers and sends them later.
            Outbox(self._uri, self._run_id, self._file.parent).log(numbers, record["epoch"] + 1)
        self._append(record)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Record which workers were lost or failed, and why."""
        reasons = {rank: _reason(error) for rank, error in worker_exceptions.items()}
        # Workers that wait for a lost one fail as well: the first cause is shown.
        lost = {rank: reason for rank, reason in reasons.items() if reason == _LOST}
        self._append({"failed": {str(rank): reason for rank, reason in (lost or reasons).items()}})

    def _append(self, record: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(record) + "\n")


def reported_epochs(run_dir: Path) -> set[int]:
    """Epochs that the reports in a run directory include, without unfinished lines of killed processes."""
    return {record["epoch"] for record in _Tail(run_dir / PROGRESS_FILE).records() if "epoch" in record}


_LOST = "lost (its process was killed or crashed)"


def _reason(error: Exception) -> str:
    from ray.exceptions import RayActorError

    from liftray.errors import find_liftray_error

    cause = getattr(error, "health_check_failure", error)
    if isinstance(cause, RayActorError):
        return _LOST
    known = find_liftray_error(error)
    text = str(known) if known else f"{type(error).__name__}: {error}"
    return f"failed ({text.strip().splitlines()[0][:200]})"


@contextmanager
def follow(
    run_dir: Path, epochs: int, title: str, steps: Callable[[int], int], max_failures: int = 0
) -> Iterator[None]:
    """Show what the controller and rank 0 report while the block runs.

    Args:
        run_dir: Where both write.
        epochs: Epochs of the run at most.
        title: What is being trained.
        steps: Gives the global steps of an epoch.
        max_failures: Restarts of lost workers at most.
    """
    tails = [_Tail(run_dir / PROGRESS_FILE), _Tail(run_dir / STEP_LOG)]
    for tail in tails:
        tail.path.unlink(missing_ok=True)  # of an earlier run
    lines = RunLines(title, epochs, steps, max_failures, terminal=on_terminal())
    ended = threading.Event()

    def watch() -> None:
        while True:
            last_look = ended.wait(_POLL_S)
            for tail in tails:
                for record in tail.records():
                    if line := lines.of(record):
                        show_line(line)
            if line := lines.silence():
                show_line(line)
            if last_look:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        tails[1].path.unlink(missing_ok=True)


class _Tail:
    """The records that are appended to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, 0

    def records(self) -> Iterator[dict[str, Any]]:
        """Records since the last call; a line that is still being written is left to the next one.

        A process that was killed as it wrote leaves a part of a line, which the next record is appended to: ignored.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            yield record
