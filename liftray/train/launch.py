"""A prepared run on Ray Train: the frozen prefix is stored first where that pays, then workers train.

Invariant: where training resumes follows from the checkpoint store alone. Flow: prepare, resume -> [this] -> worker on
every rank -> newest checkpoint.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from liftray import documents
from liftray.cache import decide, fill
from liftray.data.feed import FeedSpec
from liftray.errors import DataError, DivergedError
from liftray.progress import show_line
from liftray.train import checkpoint, resume
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun
from liftray.train.rank_job import STORE, RankJob
from liftray.train.stop import STOP_FILE, StopFile
from liftray.train.stop import run as run_stoppable
from liftray.train.worker import DIVERGED, train

_RAY = "ray"


def fit(prepared: PreparedRun, run_dir: Path, callbacks: list[Any]) -> Checkpoint:
    """Train on the connected Ray cluster, from the newest checkpoint or from the start, to the end.

    Args:
        prepared: The run.
        run_dir: Where checkpoints go; on storage that all nodes share if there are several.
        callbacks: Ray Train callbacks, called in the controller on the driver's node.

    Returns:
        The last checkpoint; its `best` weights are the result.

    Raises:
        ConfigError: The run directory holds a run with other settings.
        CacheError: The cache of the frozen prefix cannot be read or written.
        DivergedError: A loss is infinite or no number.
        DataError: All checkpoints are damaged, or the workers' checkpoints do not reach this node.
        KeyboardInterrupt: A signal stopped the run; its checkpoint is in the store.
        ray.train.WorkerGroupError: Workers failed more often than `train.max_failures`; it holds their errors.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from liftray.train.network import NodeTorchConfig

    settings = prepared.settings
    if not settings.train.resume:
        shutil.rmtree(run_dir / STORE, ignore_errors=True)
    job = RankJob.of(prepared, run_dir)
    saved = resume.checkpoint_of(job)
    if saved is not None and saved.progress.finished:
        return saved
    job = replace(job, feed=_with_stored_prefix(prepared))
    # Discard Ray's bookkeeping of an earlier attempt; only our checkpoint store decides where to resume.
    shutil.rmtree(run_dir / _RAY, ignore_errors=True)
    scaling = settings.scaling
    trainer = TorchTrainer(
        train,
        train_loop_config={"job": job},
        torch_config=NodeTorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=_RAY,
            storage_path=str(run_dir.resolve()),
            callbacks=callbacks,
            failure_config=FailureConfig(max_failures=settings.train.max_failures),
        ),
    )
    diverged, stop = run_dir / DIVERGED, StopFile(run_dir / STOP_FILE)
    diverged.unlink(missing_ok=True)
    run_stoppable(trainer.fit, stop, settings.train.stop_grace_s)
    if stop.requested():
        raise KeyboardInterrupt
    stop.remove()
    if diverged.exists():
        raise DivergedError(**documents.read_json(diverged))
    ended = checkpoint.newest(job.store)
    if ended is None or not ended.progress.finished:
        raise DataError(
            "the workers' last checkpoint is not there",
            where=str(job.store),
            remedy="put run.dir on storage that all nodes share",
        )
    return ended


def _with_stored_prefix(prepared: PreparedRun) -> FeedSpec:
    """The feed, reading a stored frozen prefix where that pays or the settings ask for it."""
    settings, feed, backbone = prepared.settings, prepared.feed, prepared.backbone
    prefix = prepared.stored_prefix()
    if prefix is None:
        show_line("cache: off: no block is constant")
        return feed
    choice = decide.choose(prefix, feed, backbone, settings.cache, settings.scaling, settings.train.epochs)
    show_line(f"cache: {choice.why}")
    if not choice.use:
        return feed
    fill.fill([prefix], feed, backbone, settings.cache, settings.scaling)
    return replace(feed, prefix=prefix)
