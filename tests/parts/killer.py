"""A Ray Train callback that kills a run's own workers, once, when a given report arrives."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
from ray.train import Checkpoint, UserCallback


class KillOnce(UserCallback):
    """Kill every training worker of this cluster by SIGKILL after a report.

    Args:
        reports: Number of the report, from 1.
        record: File that gets which processes were killed, and the errors that the controller then met.
    """

    def __init__(self, reports: int, record: Path) -> None:
        self._left, self._record = reports, record

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        self._left -= 1
        if self._left != 0:
            return
        # The controller's siblings: the workers that this cluster's raylet started.
        siblings = psutil.Process().parent().children()
        workers = [
            process.pid for process in siblings if process.cmdline()[0].startswith("ray::RayTrainWorker")
        ]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        self._append({"killed": len(workers), "at": metrics[0], "when_ns": time.time_ns()})

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        self._append({"met": [type(error).__name__ for error in worker_exceptions.values()]})

    def _append(self, record: dict[str, Any]) -> None:
        with self._record.open("a") as file:
            file.write(json.dumps(record) + "\n")
