"""From settings to Ray Train: what is checked before anything starts, and the trainer itself.

Invariant: whatever the user can have got wrong is found in `prepare`, before a process starts or a file is written.
Flow: jobs/train.py -> run -> [this] -> worker on every rank -> newest checkpoint.
"""

import hashlib
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray.adapt import kinds
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.config import Settings
from liftray.data import index
from liftray.data.feed import FeedSpec
from liftray.errors import ConfigError, DataError
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.worker import Job, train

_STORE = "checkpoints"
_SPECIALS = 8  # No backbone family adds more special tokens to a sequence.
# Settings of `train` that say how a run is kept, not what it computes: a resumed run may change them.
_KEEPING = {"resume", "checkpoint_steps", "keep_checkpoints", "max_failures"}


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        settings: The run's settings.
        backbone: The backbone that was found.
        feed: What to train and validate on.
    """

    settings: Settings
    backbone: ResolvedBackbone
    feed: FeedSpec


def prepare(settings: Settings) -> Prepared:
    """Check everything that a run needs and find its parts.

    Raises:
        ConfigError: Sets are not named, a batch cannot hold the longest window, or no block is left to adapt.
        DataError: A data set is missing, damaged or of the wrong alphabet.
        BackboneError: No backbone source is reachable.
    """
    for split in ("train", "valid"):
        if not getattr(settings.data, split):
            raise ConfigError(
                f"data.{split} names no data set", remedy=f"set data.{split}.NAME=DIR, as ingest wrote it"
            )
    if settings.train.tokens_per_batch < settings.data.max_length + _SPECIALS:
        raise ConfigError(
            f"train.tokens_per_batch={settings.train.tokens_per_batch} cannot hold a window of "
            f"data.max_length={settings.data.max_length} residues and its special tokens",
            remedy=f"set at least {settings.data.max_length + _SPECIALS}",
        )
    backbone = resolve(settings.backbone.source)
    if settings.method == "adapter":
        kinds.check(settings.adapter, backbone.num_blocks, backbone.name)
    shape = {"max_length": settings.data.max_length, "task": settings.task, "ss3_map": settings.ss3_map}
    for path in settings.data.test.values():
        index.build({"test": path}, **shape)  # type: ignore[arg-type]
    feed = FeedSpec(
        train=index.build(settings.data.train, **shape),  # type: ignore[arg-type]
        valid=index.build(settings.data.valid, **shape),  # type: ignore[arg-type]
        tokens=backbone.tokens,
        task=settings.task,
        ss3_map=settings.ss3_map,
        seed=settings.train.seed,
        budget=settings.train.tokens_per_batch,
        per_step=settings.train.micro_batches_per_step,
    )
    return Prepared(settings, backbone, feed)


def fit(prepared: Prepared, run_dir: Path, callbacks: list[Any]) -> Checkpoint:
    """Train on the connected Ray cluster and give the finished run's checkpoint.

    Args:
        prepared: What `prepare` found.
        run_dir: Where checkpoints go; on storage that all nodes share if there are several.
        callbacks: Ray Train callbacks, called in the controller beside the driver.

    Returns:
        The last checkpoint; its `best` weights are the result.

    Raises:
        ConfigError: The run directory holds a run with other settings.
        ray.train.WorkerGroupError: Workers failed more often than `train.max_failures`; it holds what they raised.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = prepared.settings
    if not settings.train.resume:
        shutil.rmtree(run_dir / _STORE, ignore_errors=True)
    job = _job(prepared)
    ended = _ended(run_dir, job.config_digest)
    if ended is not None:
        return ended
    scaling = settings.scaling
    trainer = TorchTrainer(
        train,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=_STORE,
            storage_path=str(run_dir.resolve()),
            callbacks=callbacks,
            checkpoint_config=CheckpointConfig(num_to_keep=settings.train.keep_checkpoints),
            failure_config=FailureConfig(max_failures=settings.train.max_failures),
        ),
    )
    with _interruptible():
        result = trainer.fit()
    with result.checkpoint.as_directory() as directory:
        return checkpoint.load(Path(directory))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C means KeyboardInterrupt again: Ray Train takes SIGINT over, aborts its workers, and then either exits with
    status 0 or fails with whatever the aborted controller left behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        raise KeyboardInterrupt from end
    finally:
        signal.signal(signal.SIGINT, before)


def _job(prepared: Prepared) -> Job:
    settings, feed = prepared.settings, prepared.feed
    return Job(
        settings=settings,
        source=prepared.backbone.source,
        backbone_digest=prepared.backbone.digest,
        feed=feed,
        total_steps=sum(feed.plan(epoch).num_steps for epoch in range(settings.train.epochs)),
        config_digest=_what_is_computed(prepared),
    )


def _what_is_computed(prepared: Prepared) -> str:
    """Digest of all that the losses depend on; workers, ZeRO stage and places of files are not among it."""
    settings, feed = prepared.settings, prepared.feed
    told = {
        **settings.model_dump(mode="json", include={"task", "ss3_map", "method", "adapter", "head", "loss"}),
        "train": settings.train.model_dump(mode="json", exclude=_KEEPING),
        "max_length": settings.data.max_length,
        "data": [[dataset.digest for dataset in split.datasets] for split in (feed.train, feed.valid)],
        "backbone": [prepared.backbone.digest, settings.backbone.dtype],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _ended(run_dir: Path, config_digest: str) -> Checkpoint | None:
    """The last checkpoint, if the run in this directory has ended; a run with other settings is refused.

    A driver that is killed while it stores a checkpoint leaves a part of one: such are passed over here, and Ray goes
    on from the last that it knows to be whole.
    """
    for state in sorted((run_dir / _STORE).glob("checkpoint_*/state.json")):
        try:
            saved = checkpoint.load(state.parent)
        except DataError:
            continue
        if saved.progress.config_digest != config_digest:
            raise ConfigError(
                "the run directory holds a run with other settings",
                where=str(run_dir),
                remedy="use another run.dir, or start anew with train.resume=false",
            )
        if saved.progress.finished:
            return saved
    return None
