"""The training loop of one rank: epochs of global steps, validation, the best weights, checkpoints.

Invariant: the state after global step s is a function of the config and s alone. It does not depend on how often the
run was killed, nor, to rounding, on the number of ranks. With `train.tokens_per_step` the number of ranks also chooses
the micro-batches, and with them the dropout masks. Nothing here depends on Ray: where batches come from and where
checkpoints go are arguments. Flow: rank -> [this] -> step.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from liftray.adapt import losses
from liftray.adapt.losses import Loss
from liftray.adapt.tagger import Tagger
from liftray.data.batch import TRAIN, PackedBatch
from liftray.errors import DivergedError
from liftray.train import step
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.engine import Engine
from liftray.train.rank_job import RankJob
from liftray.train.schedule import learning_rate
from liftray.train.step_log import StepLog

Keep = Callable[[dict[str, Any], Checkpoint], None]
# What rank 0 sends in place of the number of steps to the next reading.
_STOP = -1


class Loop:
    """The loop over epochs of one rank.

    Args:
        job: The run.
        model: The tagger, not wrapped by DeepSpeed.
        engine: The tagger under DeepSpeed.
        saved: The checkpoint to resume from; None: the start.
        keep: Called on every rank with metrics and a checkpoint after each epoch, and within an epoch as the
            settings ask.
        log: Takes where the run is inside an epoch; rank 0's alone is written.
        stop: Whether to stop with a checkpoint; rank 0 alone asks, at the steps at which losses are read.
    """

    def __init__(
        self,
        job: RankJob,
        model: Tagger,
        engine: Engine,
        saved: Checkpoint | None,
        keep: Keep,
        log: StepLog,
        stop: Callable[[], bool],
    ) -> None:
        self.job, self.model, self.engine, self.keep, self.log = job, model, engine, keep, log
        self.stop, self.stopped = stop, False
        self.progress = saved.progress if saved else Progress(config_digest=job.config_digest)
        self.best = saved.best if saved else engine.weights()
        self.settings = job.settings.train
        self.loss = _loss(job).to(engine.device)
        self.average = engine.average(saved.average if saved else {})
        if saved is not None:
            engine.load_moments(saved.moments, saved.progress.global_step)
            log.write({"resumed": saved.progress.global_step, "of": job.total_steps})
        self._next_reading = self.progress.global_step + 1

    def run(self, stream: Iterator[PackedBatch]) -> None:
        """Train to the end, or until a stop is requested.

        Args:
            stream: This rank's batches from `progress` on; each epoch's training batches, then validation's.

        Raises:
            DivergedError: A loss is infinite or no number; raised on all ranks, and no checkpoint has been made since.
        """
        for epoch, batches in groupby(stream, key=lambda batch: batch.epoch):
            batches_of = _Split(batches)
            seconds = self._train(epoch, batches_of)
            if self.stopped:
                return
            waited = batches_of.waited
            scores = self._validate(batches_of)
            self._check_finite(scores["loss"], "validation loss", self.progress.global_step)
            self._end_epoch(epoch, seconds, waited, scores)
            if self.progress.finished:
                return

    def _train(self, epoch: int, batches: "_Split") -> float:
        self.model.train()
        start = time.perf_counter() - self.progress.epoch_seconds
        shares: list[Tensor] = []
        for number, turns in groupby(batches.train(), key=lambda batch: batch.step):
            lr = learning_rate(self.settings, self.progress.global_step, self.job.total_steps)
            share = torch.zeros((), device=self.engine.device)
            for batch in turns:
                inputs = self._inputs(batch)
                share = share + step.train(self.engine, inputs, batch, self.loss, lr, self.settings.seed)
            shares.append(share)
            self.progress.global_step += 1
            if self.average is not None:
                self.average.update(self.progress.global_step)
            self.progress.step = number + 1
            if self.progress.global_step >= self._next_reading:
                self._read_losses(epoch, shares)
            if self.stopped or self._is_due():
                self._keep_losses(shares)
                self.progress.epoch_seconds = time.perf_counter() - start
                self._save({"epoch": epoch, "step": self.progress.global_step})
            if self.stopped:
                self.log.write({"stopped": self.progress.global_step, "of": self.job.total_steps})
                break
        self._keep_losses(shares)
        return time.perf_counter() - start

    def _is_due(self) -> bool:
        every = self.settings.checkpoint_steps
        return bool(every) and self.progress.global_step % every == 0

    def _validate(self, batches: "_Split") -> dict[str, float]:
        self.model.eval()
        counts = step.Confusion(self.job.settings.task, self.job.settings.ss3_map, self.engine.device)
        with nullcontext() if self.average is None else self.average.applied():
            for batch in batches.valid():
                inputs = self._inputs(batch)
                with torch.no_grad():
                    logits_TC = self.engine.module(*inputs.model)
                counts.add(logits_TC, inputs.labels_T, self.loss)
        summed = counts.packed()
        dist.all_reduce(summed)
        return counts.scores(summed)

    def _inputs(self, batch: PackedBatch) -> step.Inputs:
        prefix = self.job.feed.prefix
        return step.Inputs.of(batch, self.engine.device, prefix.stored if prefix else None)

    def _end_epoch(self, epoch: int, seconds: float, waited: float, scores: dict[str, float]) -> None:
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
            "train/data_wait_share": waited / seconds,
            "train/idle_share": self.job.idle_share,
            **{f"valid/{name}": value for name, value in scores.items()},
        }
        self.progress.history.append(record)
        if scores["q3"] > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = scores["q3"], epoch
            # What was validated.
            self.best = self.engine.weights() if self.average is None else self.average.weights()
        self.progress.epoch, self.progress.step, self.progress.epoch_seconds = epoch + 1, 0, 0.0
        waited = epoch - self.progress.best_epoch
        self.progress.finished = epoch + 1 >= self.settings.epochs or waited >= self.settings.patience
        self._save(record)

    def _read_losses(self, epoch: int, shares: list[Tensor]) -> None:
        """Keep the losses so far and log the step; all ranks learn from rank 0 when to do so again, or to stop."""
        known = len(self.progress.step_losses)
        stride = self._keep_losses(shares, self._stride() if dist.get_rank() == 0 else 0)
        self.stopped = stride == _STOP
        self._next_reading = self.progress.global_step + stride
        losses = self.progress.step_losses[known:]
        place = {"epoch": epoch, "step": self.progress.step, "global_step": self.progress.global_step}
        self.log.write({**place, "loss": sum(losses) / len(losses)})

    def _stride(self) -> int:
        return _STOP if self.stop() else self.log.next_stride()

    def _keep_losses(self, shares: list[Tensor], number: int = 0) -> int:
        """Sum the steps' losses over ranks, once for many steps, and keep them; returns the sum of a number of each."""
        if not shares:
            return 0
        *losses, total = sum_over_ranks(torch.stack([*shares, shares[0].new_tensor(float(number))])).tolist()
        for loss in losses:
            self.progress.step_losses.append(loss)
            self._check_finite(loss, "loss", len(self.progress.step_losses))
        shares.clear()
        return int(total)

    def _check_finite(self, loss: float, what: str, step: int) -> None:
        """Refuse to train on: nothing that follows from such a loss is of use, and a restart repeats it."""
        if math.isfinite(loss):
            return
        train = self.settings
        raise DivergedError(
            f"the {what} is {loss} at step {step:,} of {self.job.total_steps:,}",
            where=str(self.job.store.parent),
            remedy=f"lower train.lr={train.lr:g}, or raise train.warmup_ratio={train.warmup_ratio:g}",
        )

    def _save(self, metrics: dict[str, Any]) -> None:
        average = {} if self.average is None else self.average.weights()
        state = Checkpoint(self.progress, self.engine.weights(), self.engine.moments(), self.best, average)
        self.keep(metrics, state)


def sum_over_ranks(own: Tensor) -> Tensor:
    """Sum a tensor over ranks in the order of their numbers, the same bits on every rank.

    `all_reduce` sums in an order that depends on the tensor's length. Here the length depends on how long steps take,
    and the recorded losses must not.

    Args:
        own: This rank's tensor, of the same shape on all ranks.
    """
    of_ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(of_ranks, own)
    return functools.reduce(torch.add, of_ranks)


def _loss(job: RankJob) -> Loss:
    """The run's loss, with the states of the training sets counted where it depends on that."""
    settings = job.settings
    needed = losses.needs_counts(settings.loss)
    counts = job.feed.train.class_counts(settings.task, settings.ss3_map) if needed else None
    return Loss(settings.loss, settings.head.temperature, settings.task, settings.ss3_map, counts)


class _Split:
    """One epoch's stream, training batches first, then validation batches."""

    def __init__(self, batches: Iterator[PackedBatch]) -> None:
        self._batches = batches
        self._held: list[PackedBatch] = []
        self.waited = 0.0  # seconds that training waited for its next batch

    def train(self) -> Iterator[PackedBatch]:
        while True:
            start = time.perf_counter()
            batch = next(self._batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            if batch.split != TRAIN:
                self._held = [batch]
                return
            yield batch

    def valid(self) -> Iterator[PackedBatch]:
        yield from self._held
        yield from self._batches
