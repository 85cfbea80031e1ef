"""From settings to Ray Train: what is checked before anything starts, and the trainer itself.

Invariant: whatever the user can have got wrong is found in `prepare`, before a process starts or a file is written.
Flow: jobs/train.py -> run -> [this] -> worker on every rank -> newest checkpoint.
"""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liftray import files
from liftray.adapt import heads, kinds, losses
from liftray.adapt.cut import Cut
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import attention
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.backbone.tokens import MOST_SPECIALS
from liftray.cache import decide, fill
from liftray.cache.prefix import StoredPrefix
from liftray.config import Settings
from liftray.data import index
from liftray.data.feed import FeedSpec
from liftray.errors import ConfigError, DataError
from liftray.predict import bundle
from liftray.progress import show_line
from liftray.train import checkpoint, run_digest
from liftray.train.checkpoint import Checkpoint
from liftray.train.rank_job import RankJob
from liftray.train.worker import train

_STORE, _RAY, _START = "checkpoints", "ray", "start"


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        settings: The run's settings.
        backbone: The backbone that was found.
        cut: Where the frozen part of the backbone ends.
        feed: What to train and validate on.
        start: The bundle whose weights are the initial ones, if there is one.
    """

    settings: Settings
    backbone: ResolvedBackbone
    cut: Cut
    feed: FeedSpec
    start: Path | None = None

    @property
    def digest(self) -> str:
        """Digest of all that the run computes; see `run_digest`."""
        return run_digest.run_digest(self.settings, self.backbone, self.feed)

    def with_settings(self, settings: Settings) -> "Prepared":
        """The same data and backbone under other settings, with the cut that follows from them."""
        cut = TaggerSettings.of(settings).cut(self.backbone.family, self.backbone.num_blocks)
        return replace(self, settings=settings, cut=cut)


def prepare(settings: Settings) -> Prepared:
    """Check everything that a run needs and find its parts.

    Raises:
        ConfigError: Sets are not named, a batch cannot hold the longest window, or no block is left to adapt.
        DataError: A data set is missing, damaged or of the wrong alphabet.
        BackboneError: No backbone source is reachable.
        BundleError: What `train.start_from` names is no bundle.
        TrackingError: It cannot be fetched.
    """
    for split in ("train", "valid"):
        if not getattr(settings.data, split):
            raise ConfigError(
                f"data.{split} names no data set", remedy=f"set data.{split}.NAME=DIR, as ingest wrote it"
            )
    if settings.train.tokens_per_batch < settings.data.max_length + MOST_SPECIALS:
        raise ConfigError(
            f"train.tokens_per_batch={settings.train.tokens_per_batch} cannot hold a window of "
            f"data.max_length={settings.data.max_length} residues and its special tokens",
            remedy=f"set at least {settings.data.max_length + MOST_SPECIALS}",
        )
    backbone = resolve(settings.backbone.source)
    if settings.method != "features" or settings.head.mix_blocks:
        kinds.check(settings.adapter, backbone.num_blocks, backbone.name, backbone.width)
    cut = TaggerSettings.of(settings).cut(backbone.family, backbone.num_blocks)
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
        by_length=_pads(settings, backbone),
    )
    if losses.needs_counts(settings.loss):
        feed.train.class_counts(settings.task, settings.ss3_map)
    return Prepared(settings, backbone, cut, feed, _start_of(settings, backbone))


def _pads(settings: Settings, backbone: ResolvedBackbone) -> bool:
    """Whether a part of the model lays windows out as rows of equal length; see `attention.attend`."""
    size = Dimensions.of(backbone.family, backbone.config)
    packed_on_gpu = (
        size.family != "t5"
        and settings.backbone.dtype == "bfloat16"
        and attention.takes_packed(size.inner // size.heads)
    )
    return heads.head_class(settings.head).pads or (settings.scaling.use_gpu and not packed_on_gpu)


def _start_of(settings: Settings, backbone: ResolvedBackbone) -> Path | None:
    """The bundle that `train.start_from` names, if it holds what the run trains."""
    if not settings.train.start_from:
        return None
    from liftray.track.mlflow.versions import resolve as find

    directory = find(settings.train.start_from, settings.tracking.uri)
    theirs, recorded = bundle.described(directory, bundle.read_info(directory))
    ours = TaggerSettings.of(settings)
    shapes = [
        {
            "task": one.task,
            "method": one.method,
            "adapter": _of_adapter(one),
            "head": one.head.model_dump(exclude={"dropout"}),
            "backbone": digest,
        }
        for one, digest in ((ours, backbone.digest), (theirs, recorded["digest"]))
    ]
    if other := [name for name, value in shapes[0].items() if value != shapes[1][name]]:
        raise ConfigError(
            f"train.start_from: the bundle has another {' and '.join(other)} than this run",
            where=str(directory),
            remedy="start from a bundle of the same shape, or leave train.start_from empty",
        )
    return directory


def _of_adapter(settings: TaggerSettings) -> dict[str, Any]:
    """The settings of the adapter that the trained weights depend on."""
    if settings.method != "features":
        return settings.adapter.model_dump()
    return {"skip_layers": settings.adapter.skip_layers} if settings.head.mix_blocks else {}


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
        CacheError: The cache of the frozen prefix cannot be read or written.
        DataError: All its checkpoints are damaged, or the workers' checkpoints do not reach this node.
        ray.train.WorkerGroupError: Workers failed more often than `train.max_failures`; it holds what they raised.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = prepared.settings
    if not settings.train.resume:
        shutil.rmtree(run_dir / _STORE, ignore_errors=True)
    job = job_of(prepared, run_dir)
    saved = to_go_on_from(job)
    if saved is not None and saved.progress.finished:
        return saved
    job = replace(job, feed=_with_stored_prefix(prepared))
    # Ray's own books of an earlier attempt: where to go on stands in our store alone.
    shutil.rmtree(run_dir / _RAY, ignore_errors=True)
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
            name=_RAY,
            storage_path=str(run_dir.resolve()),
            callbacks=callbacks,
            failure_config=FailureConfig(max_failures=settings.train.max_failures),
        ),
    )
    with _interruptible():
        trainer.fit()
    ended = checkpoint.newest(job.store)
    if ended is None or not ended.progress.finished:
        raise DataError(
            "the workers' last checkpoint is not there",
            where=str(job.store),
            remedy="put run.dir on storage that all nodes share",
        )
    return ended


def to_go_on_from(job: RankJob) -> Checkpoint | None:
    """The newest checkpoint of a run; None at its start.

    Raises:
        ConfigError: It is of a run with other settings.
        DataError: All are damaged.
    """
    saved = checkpoint.newest(job.store)
    if saved is not None and saved.progress.config_digest not in (
        job.config_digest,
        job.first_version_digest,
    ):
        raise ConfigError(
            "the run directory holds a run with other settings",
            where=str(job.store.parent),
            remedy="use another run.dir, or start anew with train.resume=false",
        )
    return saved


def prefix_of(prepared: Prepared) -> StoredPrefix | None:
    """Where the constant part's states of a run are, or will be when they are filled; None: no block is constant."""
    settings, backbone, cut = prepared.settings, prepared.backbone, prepared.cut
    if not cut.has_prefix:
        return None
    key = fill.key_of(backbone, cut, settings.backbone.dtype, settings.cache, settings.scaling.use_gpu)
    return fill.place(prepared.feed, key, settings.cache)


def _with_stored_prefix(prepared: Prepared) -> FeedSpec:
    """Let the run read its frozen prefix instead of computing it, where that pays or was asked for."""
    settings, feed, backbone = prepared.settings, prepared.feed, prepared.backbone
    prefix = prefix_of(prepared)
    if prefix is None:
        show_line("cache: off: no block is constant")
        return feed
    choice = decide.choose(prefix, feed, backbone, settings.cache, settings.scaling, settings.train.epochs)
    show_line(f"cache: {choice.why}")
    if not choice.use:
        return feed
    fill.fill([prefix], feed, backbone, settings.cache, settings.scaling)
    return replace(feed, prefix=prefix)


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


def job_of(prepared: Prepared, run_dir: Path) -> RankJob:
    """What every rank of a run is told."""
    settings, feed = prepared.settings, prepared.feed
    start = None
    if prepared.start is not None:
        # All nodes see the run's directory; where the bundle was found they may not.
        start = run_dir.resolve() / _START
        if not start.exists():
            with files.new_directory(start) as fresh:
                shutil.copytree(prepared.start, fresh, dirs_exist_ok=True)
    return RankJob(
        settings=settings,
        source=prepared.backbone.source,
        backbone_digest=prepared.backbone.digest,
        cut=prepared.cut,
        feed=feed,
        total_steps=sum(feed.plan(epoch).num_steps for epoch in range(settings.train.epochs)),
        config_digest=prepared.digest,
        first_version_digest=run_digest.first_version_digest(settings, prepared.backbone, feed),
        store=run_dir.resolve() / _STORE,
        start=start,
    )
