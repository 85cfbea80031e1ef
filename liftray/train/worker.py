"""The Ray Train worker: what each rank runs.

Invariant: the state after global step s is a function of the config and s: not of the number of ranks (to rounding),
nor of how often the run was killed. Flow: launch -> [this on every rank] -> checkpoints and reports.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from torch import Tensor

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.config import Settings
from liftray.data.batch import TRAIN, PackedBatch
from liftray.data.feed import Feed, FeedSpec
from liftray.errors import BackboneError, ConfigError
from liftray.train import checkpoint, step
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.engine import Engine
from liftray.train.schedule import learning_rate


@dataclass(frozen=True)
class Job:
    """What the driver sends to every rank.

    Attributes:
        settings: The run's settings.
        source: The backbone source that the driver found.
        backbone_digest: Digest that this node's copy of it must have.
        feed: What to train and validate on.
        total_steps: Global steps of all epochs.
        config_digest: Digest of the settings that a resumed run must share.
    """

    settings: Settings
    source: str
    backbone_digest: str
    feed: FeedSpec
    total_steps: int
    config_digest: str


def train(config: dict[str, Job]) -> None:
    """Train this rank's share from the newest checkpoint, or from the start, to the end."""
    job = config["job"]
    # DeepSpeed would take CUDA wherever it sees it, also for a run that asked for CPUs.
    os.environ["DS_ACCELERATOR"] = "cuda" if job.settings.scaling.use_gpu else "cpu"
    context = ray.train.get_context()
    device = _device(job.settings)
    saved = _newest(job)
    if saved is not None and saved.progress.finished:
        _report({"finished": True, "history": saved.progress.history}, saved, context.get_world_rank())
        return
    model = _model(job, device, saved)
    before = taggers.fingerprint(model)
    ranks = context.get_world_size()
    engine = Engine(model, job.settings, job.feed.turns(ranks), ranks, device)
    run = _Run(job, engine, Feed(job.feed, context.get_world_rank(), ranks), saved, context.get_world_rank())
    if saved is not None:
        engine.load_moments(saved.moments, saved.progress.global_step)
    run.to_the_end(model)
    if job.settings.zero.stage != 3:
        assert taggers.fingerprint(model) == before, "the frozen backbone changed"


class _Run:
    """The loop over epochs of one rank."""

    def __init__(self, job: Job, engine: Engine, feed: Feed, saved: Checkpoint | None, rank: int) -> None:
        self.job, self.engine, self.feed, self.rank = job, engine, feed, rank
        self.progress = saved.progress if saved else Progress(config_digest=job.config_digest)
        self.best = saved.best if saved else engine.weights()
        self.settings = job.settings.train

    def to_the_end(self, model: Tagger) -> None:
        stream = self.feed.batches(self.settings.epochs, self.progress.epoch, self.progress.step)
        try:
            for epoch, batches in groupby(stream, key=lambda batch: batch.epoch):
                seconds = self._train(model, epoch, batches_of := _Split(batches))
                scores = self._validate(model, batches_of)
                self._end_epoch(epoch, seconds, scores)
                if self.progress.finished:
                    return
        finally:
            stream.close()  # type: ignore[attr-defined]

    def _train(self, model: Tagger, epoch: int, batches: "_Split") -> float:
        model.train()
        start = time.perf_counter() - self.progress.epoch_seconds
        shares: list[Tensor] = []
        for number, turns in groupby(batches.train(), key=lambda batch: batch.step):
            lr = learning_rate(self.settings, self.progress.global_step, self.job.total_steps)
            share = torch.zeros((), device=self.engine.device)
            for batch in turns:
                inputs = step.Inputs.of(batch, self.job.feed.tokens.pad_id, self.engine.device)
                share = share + step.train(
                    self.engine, inputs, batch, self.job.settings.loss, lr, self.settings.seed
                )
            shares.append(share)
            self.progress.global_step += 1
            self.progress.step = number + 1
            if (
                self.settings.checkpoint_steps
                and self.progress.global_step % self.settings.checkpoint_steps == 0
            ):
                self._keep_losses(shares)
                self.progress.epoch_seconds = time.perf_counter() - start
                self._save({"epoch": epoch, "step": self.progress.global_step})
        self._keep_losses(shares)
        return time.perf_counter() - start

    def _validate(self, model: Tagger, batches: "_Split") -> dict[str, float]:
        model.eval()
        counts = step.Confusion(self.job.settings.task, self.job.settings.ss3_map, self.engine.device)
        for batch in batches.valid():
            inputs = step.Inputs.of(batch, self.job.feed.tokens.pad_id, self.engine.device)
            with torch.no_grad():
                logits_BLC = self.engine.module(inputs.tokens_BL, inputs.mask_BL)
            counts.add(logits_BLC, inputs.labels_BL, self.job.settings.loss)
        summed = counts.packed()
        dist.all_reduce(summed)
        return counts.scores(summed)

    def _end_epoch(self, epoch: int, seconds: float, scores: dict[str, float]) -> None:
        steps = self.progress.step
        residues = int(self.job.feed.train.scored.sum())
        seen = int(self.job.feed.train.windows.lengths.sum())
        record: dict[str, Any] = {
            "epoch": epoch,
            "global_step": self.progress.global_step,
            "train/loss": sum(self.progress.step_losses[-steps:]) / max(steps, 1),
            "train/residues": residues,
            "train/parameters": sum(tensor.numel() for tensor in self.best.values()),
            "train/seconds": seconds,
            "train/residues_per_s": seen / seconds,
            **{f"valid/{name}": value for name, value in scores.items()},
        }
        self.progress.history.append(record)
        if scores["q3"] > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = scores["q3"], epoch
            self.best = self.engine.weights()
        self.progress.epoch, self.progress.step, self.progress.epoch_seconds = epoch + 1, 0, 0.0
        waited = epoch - self.progress.best_epoch
        self.progress.finished = epoch + 1 >= self.settings.epochs or waited >= self.settings.patience
        self._save(record)

    def _keep_losses(self, shares: list[Tensor]) -> None:
        """Sum the steps' losses over ranks, once for many steps, and keep them."""
        if shares:
            losses = torch.stack(shares)
            dist.all_reduce(losses)
            self.progress.step_losses.extend(losses.tolist())
            shares.clear()

    def _save(self, metrics: dict[str, Any]) -> None:
        state = Checkpoint(self.progress, self.engine.weights(), self.engine.moments(), self.best)
        _report({**metrics, "finished": self.progress.finished}, state, self.rank)


class _Split:
    """One epoch's stream, training batches first, then validation batches."""

    def __init__(self, batches: Iterator[PackedBatch]) -> None:
        self._batches = batches
        self._held: list[PackedBatch] = []

    def train(self) -> Iterator[PackedBatch]:
        for batch in self._batches:
            if batch.split != TRAIN:
                self._held = [batch]
                return
            yield batch

    def valid(self) -> Iterator[PackedBatch]:
        yield from self._held
        yield from self._batches


def _device(settings: Settings) -> torch.device:
    if settings.scaling.use_gpu:
        import ray.train.torch

        return ray.train.torch.get_device()
    return torch.device("cpu")


def _newest(job: Job) -> Checkpoint | None:
    stored = ray.train.get_checkpoint()
    if stored is None:
        return None
    with stored.as_directory() as directory:
        saved = checkpoint.load(Path(directory))
    if saved.progress.config_digest != job.config_digest:
        raise ConfigError(
            "the checkpoint was made with other settings",
            where=job.settings.run.dir,
            remedy="use another run.dir, or start anew with train.resume=false",
        )
    return saved


def _model(job: Job, device: torch.device, saved: Checkpoint | None) -> Tagger:
    resolved = resolve([job.source])
    if resolved.digest != job.backbone_digest:
        raise BackboneError(
            "this node's copy of the backbone differs from the driver's",
            where=job.source,
            remedy="give every node the same files",
        )
    backbone = backbones.load(resolved, dtype=job.settings.backbone.dtype)
    model = taggers.build(backbone, TaggerSettings.of(job.settings), job.settings.train.seed)
    if saved is not None:
        trained = model.trained()
        assert trained.keys() == saved.weights.keys(), "checkpoint and model train different parameters"
        for name, parameter in trained.items():
            parameter.data.copy_(saved.weights[name])
    return model.to(device)


def _report(metrics: dict[str, Any], state: Checkpoint, rank: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        stored = None
        if rank == 0:
            checkpoint.save(state, Path(directory))
            stored = ray.train.Checkpoint.from_directory(directory)
        ray.train.report(metrics, checkpoint=stored)
