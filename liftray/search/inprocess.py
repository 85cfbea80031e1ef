"""A run inside this process: one rank without a Ray Train worker group.

Invariant: steps, checkpoints and scores are those of `launch.fit` with one worker, so either can resume a run of the
other. For small trials on CPUs: a worker group and its feed take more seconds to start than such a trial trains.
Flow: trial -> [this] -> train.rank.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from liftray.train import checkpoint, resume
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun
from liftray.train.rank_job import RankJob

ReportEpoch = Callable[[dict[str, Any], Checkpoint], None]
PEAK = "train/peak_memory_gb"


def fit(prepared: PreparedRun, run_dir: Path, report: ReportEpoch) -> Checkpoint:
    """Train on one CPU worker, from the newest checkpoint or from the start, to the end.

    Args:
        prepared: The run; its feed reads a stored prefix where it names one.
        run_dir: Where checkpoints go.
        report: Called after each epoch, when its checkpoint is on disk.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: The run directory holds a run with other settings.
        CacheError: The stored prefix cannot be read.
    """
    import torch

    from liftray.data.feed import Feed
    from liftray.train.rank import join_group_of_one, run_rank

    settings = prepared.settings
    job = RankJob.of(prepared, run_dir)
    saved = resume.checkpoint_of(job)
    if saved is not None and saved.progress.finished:
        return saved
    torch.set_num_threads(max(1, ceil(settings.scaling.cpus_per_worker)))
    device, last, peak = torch.device("cpu"), saved, PeakMemory()
    join_group_of_one(device)  # and leave it, for the next trials of this process

    def keep(metrics: dict[str, Any], state: Checkpoint) -> None:
        nonlocal last
        if "train/loss" in metrics:
            metrics[PEAK] = peak.gb()  # the same record as in the checkpoint's history
        checkpoint.commit(state, job.store, settings.train.keep_checkpoints)
        last = state
        if "train/loss" in metrics:
            report(metrics, state)

    run_rank(job, 0, 1, device, Feed.local_batches, keep)
    if last is None:
        raise RuntimeError("the run ended without a checkpoint")
    return last


def with_stored_prefix(prepared: PreparedRun) -> PreparedRun:
    """The same run, reading the frozen prefix that was stored before."""
    prefix = prepared.stored_prefix()
    return prepared if prefix is None else replace(prepared, feed=replace(prepared.feed, prefix=prefix))


class PeakMemory:
    """The peak of this process's memory since the object was made (Linux only)."""

    def __init__(self) -> None:
        # Reset the peak of earlier trials of this process; where that is not allowed, the peak is the process's.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def gb(self) -> float | None:
        """Resident memory at the peak in 1e9 bytes; None where the system does not report it."""
        try:
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        return int(peaks[0]) * 1024 / 1e9 if peaks else None
