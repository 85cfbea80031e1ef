"""What the controller does with each report: metrics to MLflow, and a line to the person who watches.

Invariant: only the controller and the driver write to MLflow, both on the driver's node, so an SQLite store works and
a training step never waits for a database. Flow: worker -> [this] -> MLflow, progress.jsonl -> `follow` -> terminal.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback

from liftray.progress import show_line
from liftray.track.mlflow.outbox import Outbox

PROGRESS_FILE = "progress.jsonl"
_POLL_S = 0.5


class Reporter(UserCallback):
    """Logs each epoch.

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
            # A store that does not answer stops no training: what it does not take is kept and sent later.
            Outbox(self._uri, self._run_id, self._file.parent).log(numbers, record["epoch"] + 1)
        with self._file.open("a") as file:
            file.write(json.dumps(record) + "\n")


@contextmanager
def follow(run_dir: Path, epochs: int, title: str) -> Iterator[None]:
    """Print a line for each epoch that the controller reports while the block runs.

    Args:
        run_dir: Where progress.jsonl is.
        epochs: Epochs of the run at most.
        title: What is being trained.
    """
    file = run_dir / PROGRESS_FILE
    file.unlink(missing_ok=True)
    ended = threading.Event()

    def watch() -> None:
        told = 0
        while True:
            last_look = ended.wait(_POLL_S)
            lines = file.read_text().splitlines() if file.exists() else []
            for line in lines[told:]:
                show_line(_line(json.loads(line), epochs, title))
            told = len(lines)
            if last_look:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _line(record: Mapping[str, Any], epochs: int, title: str) -> str:
    scores = ", ".join(
        f"{name.removeprefix('valid/').upper()} {100 * record[name]:.2f}"
        for name in ("valid/q9", "valid/q8", "valid/q3")
        if name in record
    )
    done = record["epoch"] + 1
    left = (epochs - done) * record["train/seconds"]
    return (
        f"{title}: epoch {done}/{epochs}, loss {record['train/loss']:.4f}, validation {scores}, "
        f"{record['train/residues_per_s']:,.0f} residues/s, at most {left:.0f} s left"
    )
