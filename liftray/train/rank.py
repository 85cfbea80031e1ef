"""One rank of a run: the only code that drives a model, its engine, the loop and the stream of batches.

Invariant: a rank that starts again, on any node, resumes from the newest checkpoint with the same results. The frozen
backbone has the same bits at the end as at the start. Nothing here depends on Ray: where batches come from and where
checkpoints go are arguments. Flow: Ray worker, trial in process, bench -> [this] -> loop.
"""

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Generator

import torch
import torch.distributed as dist

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.data.batch import PackedBatch
from liftray.data.feed import Feed
from liftray.errors import BackboneError, DataError
from liftray.predict import bundle
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.engine import Engine
from liftray.train.loop import Keep, Loop
from liftray.train.rank_job import RankJob
from liftray.train.step_log import StepLog

# From a feed, the number of epochs, and the epoch and step to begin with: `Feed.batches` or `Feed.local_batches`.
Stream = Callable[[Feed, int, int, int], Generator[PackedBatch]]

_M_MMAP_THRESHOLD = -3  # from malloc.h


def run_rank(
    job: RankJob,
    rank: int,
    ranks: int,
    device: torch.device,
    stream: Stream,
    keep: Keep,
    log: StepLog | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Checkpoint | None:
    """Train one rank's share, from the newest checkpoint or from the start, to the end or to a requested stop.

    A process group of `ranks` ranks must exist, see `join_group_of_one`.

    Args:
        job: The run.
        rank: This rank.
        ranks: Number of ranks.
        device: Where this rank computes.
        stream: How batches come to the rank: `Feed.batches` through Ray Data, `Feed.local_batches` without Ray.
        keep: Called on every rank with metrics and a checkpoint after each epoch, and within an epoch as the settings
            ask.
        log: Takes where the run is inside an epoch.
        stop: Whether to stop with a checkpoint; asked on rank 0 every few seconds.

    Returns:
        The checkpoint that the rank started from; None: it started from the beginning.

    Raises:
        BackboneError: This node has another backbone than the driver.
        DataError: All checkpoints are damaged, or the newest has other weights than the model.
        CacheError: The stored frozen prefix cannot be read.
        RuntimeError: A bit of the frozen backbone changed.
    """
    # DeepSpeed takes CUDA wherever it sees it, also for a run on CPUs.
    os.environ["DS_ACCELERATOR"] = device.type
    saved = _newest(job, rank, device)
    if saved is not None and saved.progress.finished:
        return saved
    settings = job.settings
    model = build_model(job, saved).to(device)
    # Under ZeRO 3 DeepSpeed divides the frozen weights among the ranks, and gathers them in buffers of its own.
    frozen = None if settings.zero.stage == 3 else taggers.fingerprint(model)
    engine = Engine(model, settings.train, settings.zero, job.feed.turns(ranks), ranks, device)
    loop = Loop(job, model, engine, saved, keep, log or StepLog(None), stop)
    place = loop.progress.epoch, loop.progress.step
    with contextlib.closing(stream(Feed(job.feed, rank, ranks), settings.train.epochs, *place)) as batches:
        loop.run(batches)
    if frozen is not None and taggers.fingerprint(model) != frozen:
        raise RuntimeError("training changed the frozen backbone")
    return saved


def build_model(job: RankJob, saved: Checkpoint | None) -> Tagger:
    """Build the model of a run, of the backbone only the blocks above the cut where a cache holds the prefix.

    Args:
        job: The run.
        saved: The checkpoint whose weights it gets; None: those of the bundle that the run starts from, else random
            ones.

    Raises:
        BackboneError: This node has another backbone than the driver.
        DataError: The weights are not those that the model trains.
    """
    settings, resolved = job.settings, resolve([job.source])
    if resolved.digest != job.backbone_digest:
        raise BackboneError(
            "this node's copy of the backbone differs from the driver's",
            where=job.source,
            remedy="give every node the same files",
        )
    first_block = job.cut.entry if job.feed.prefix else 0
    backbone = backbones.load(resolved, dtype=settings.backbone.dtype, first_block=first_block)
    backbone.recompute = settings.train.recompute_activations
    if backbone.recompute and not settings.scaling.use_gpu:
        _return_freed_memory()
    model = taggers.build(backbone, TaggerSettings.of(settings), settings.train.seed)
    weights = saved.weights if saved is not None else bundle.trained_weights(job.start) if job.start else None
    if weights is not None:
        trained = model.trained()
        if trained.keys() != weights.keys():
            raise DataError(
                f"other weights than the model trains: {min(trained.keys() ^ weights.keys())}",
                where=str(job.start if saved is None else job.store),
                remedy="start again with train.resume=false",
            )
        for name, parameter in trained.items():
            parameter.data.copy_(weights[name])
    return model


def join_group_of_one(device: torch.device) -> None:
    """Make this process a process group of one rank, as Ray Train would; one that exists is used again.

    Args:
        device: Where the rank computes: NCCL on a GPU, else gloo.
    """
    # DeepSpeed reads these in addition to the group itself.
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR=device.type)
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    if dist.is_initialized():
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=address, rank=0, world_size=1)


def _newest(job: RankJob, rank: int, device: torch.device) -> Checkpoint | None:
    """The checkpoint to resume from. Rank 0 chooses: the others might look at the store a moment later."""
    saved = checkpoint.newest(job.store) if rank == 0 else None
    chosen = torch.tensor(-1 if saved is None else saved.progress.global_step, device=device)
    dist.broadcast(chosen, src=0)
    if rank == 0 or chosen < 0:
        return saved
    return checkpoint.at_step(job.store, int(chosen))


def _return_freed_memory() -> None:
    """Let the C library return large blocks to the system as soon as they are freed.

    By default glibc keeps freed blocks below 32 MiB. The next batch has other lengths, so these blocks do not fit it:
    they cost half as much memory again as is in use. Fresh pages for every tensor cost a quarter of the speed, so this
    is only for runs that trade time for memory.
    """
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
