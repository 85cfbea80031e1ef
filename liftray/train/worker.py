"""The Ray Train worker: one rank of a run under Ray.

Invariant: it adds to `run_rank` only what Ray knows: which rank this is, its device, and where reports go.
Flow: launch -> [this on every rank] -> rank -> checkpoints and reports.
"""

from typing import Any

import ray.train
import torch

from liftray import files
from liftray.data.feed import Feed
from liftray.errors import DivergedError
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.rank import run_rank
from liftray.train.rank_job import RankJob
from liftray.train.step_log import STEP_LOG, StepLog
from liftray.train.stop import STOP_FILE, StopFile

# The reason why a run ended before its last epoch, in the run directory.
DIVERGED = "diverged.json"


def train(config: dict[str, RankJob]) -> None:
    """Train this rank's share to the end.

    Args:
        config: The run, under `job`.
    """
    job, context = config["job"], ray.train.get_context()
    rank = context.get_world_rank()

    def keep(metrics: dict[str, Any], state: Checkpoint) -> None:
        if rank == 0:
            checkpoint.commit(state, job.store, job.settings.train.keep_checkpoints)
        ray.train.report(metrics)

    log = StepLog(job.store.parent / STEP_LOG if rank == 0 else None)
    stop = StopFile(job.store.parent / STOP_FILE)
    device = _device(use_gpu=job.settings.scaling.use_gpu)
    try:
        run_rank(job, rank, context.get_world_size(), device, Feed.batches, keep, log, stop.requested)
    except DivergedError as error:
        # Not raised: Ray Train would restart the workers, which would take the same steps to the same end.
        if rank == 0:
            record = {"what": error.what, "where": error.where, "remedy": error.remedy}
            files.write_json(job.store.parent / DIVERGED, record)


def _device(*, use_gpu: bool) -> torch.device:
    """Where this rank computes."""
    if use_gpu:
        import ray.train.torch

        return ray.train.torch.get_device()
    return torch.device("cpu")
