"""The Ray Train worker: what each rank runs.

Invariant: a rank that starts again, on whatever node, goes on from the newest checkpoint as if nothing had happened.
Flow: launch -> [this on every rank] -> loop -> checkpoints and reports.
"""

import contextlib
import ctypes
import os
from typing import Any

import ray.train
import torch
import torch.distributed as dist

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.config import Settings
from liftray.data.feed import Feed
from liftray.errors import BackboneError
from liftray.predict import bundle
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.engine import Engine
from liftray.train.job import Job
from liftray.train.loop import Loop

_M_MMAP_THRESHOLD = -3  # from malloc.h


def train(config: dict[str, Job]) -> None:
    """Train this rank's share from the newest checkpoint, or from the start, to the end."""
    job = config["job"]
    # DeepSpeed would take CUDA wherever it sees it, also for a run that asked for CPUs.
    os.environ["DS_ACCELERATOR"] = "cuda" if job.settings.scaling.use_gpu else "cpu"
    context = ray.train.get_context()
    rank, ranks, device = context.get_world_rank(), context.get_world_size(), _device(job.settings)
    saved = _newest(job, rank, device)
    if saved is not None and saved.progress.finished:
        return
    model = tagger(job, saved).to(device)
    before = taggers.fingerprint(model)
    engine = Engine(model, job.settings, job.feed.turns(ranks), ranks, device)

    def keep(metrics: dict[str, Any], state: Checkpoint) -> None:
        if rank == 0:
            checkpoint.commit(state, job.store, job.settings.train.keep_checkpoints)
        ray.train.report(metrics)

    loop = Loop(job, model, engine, saved, keep)
    place = loop.progress.epoch, loop.progress.step
    stream = Feed(job.feed, rank, ranks).batches(job.settings.train.epochs, *place)
    try:
        loop.run(stream)
    finally:
        stream.close()
    if job.settings.zero.stage != 3:
        assert taggers.fingerprint(model) == before, "the frozen backbone changed"


def _device(settings: Settings) -> torch.device:
    """Where this rank computes."""
    if settings.scaling.use_gpu:
        import ray.train.torch

        return ray.train.torch.get_device()
    return torch.device("cpu")


def _newest(job: Job, rank: int, device: torch.device) -> Checkpoint | None:
    """The checkpoint to go on from. Rank 0 chooses: the others might look at the store a moment later."""
    saved = checkpoint.newest(job.store) if rank == 0 else None
    chosen = torch.tensor(-1 if saved is None else saved.progress.global_step, device=device)
    dist.broadcast(chosen, src=0)
    if rank == 0 or chosen < 0:
        return saved
    return checkpoint.at_step(job.store, int(chosen))


def _give_memory_back() -> None:
    """Let the C library give large blocks back to the system as soon as they are freed.

    By itself glibc comes to keep blocks below 32 MiB, in pieces that the next batch, of other lengths, does not fit:
    half as much again as is in use. Fresh pages for every tensor cost a quarter of the speed, so this is for runs that
    give time for memory.
    """
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def tagger(job: Job, saved: Checkpoint | None) -> Tagger:
    """The model of a run, with the weights of a checkpoint, else of the bundle that it starts from, else random ones;
    of the backbone only what lies above a cached cut.

    Raises:
        BackboneError: The backbone that this node finds is another one.
    """
    resolved = resolve([job.source])
    if resolved.digest != job.backbone_digest:
        raise BackboneError(
            "this node's copy of the backbone differs from the driver's",
            where=job.source,
            remedy="give every node the same files",
        )
    first_block = job.cut.entry if job.feed.prefix else 0
    backbone = backbones.load(resolved, dtype=job.settings.backbone.dtype, first_block=first_block)
    backbone.recompute = job.settings.train.recompute_activations
    if backbone.recompute and not job.settings.scaling.use_gpu:
        _give_memory_back()
    model = taggers.build(backbone, TaggerSettings.of(job.settings), job.settings.train.seed)
    weights = saved.weights if saved is not None else bundle.trained_weights(job.start) if job.start else None
    if weights is not None:
        trained = model.trained()
        assert trained.keys() == weights.keys(), "the model trains other parameters than it is given"
        for name, parameter in trained.items():
            parameter.data.copy_(weights[name])
    return model
