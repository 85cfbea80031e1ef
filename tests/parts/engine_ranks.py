"""The program of the spawned ranks in the contract tests of the engine; results are written to files."""

import hashlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings, fingerprint
from liftray.config import Settings
from liftray.data.batch import TRAIN
from liftray.data.feed import Feed, FeedSpec, Gather
from liftray.train import checkpoint, step
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.schedule import learning_rate
from tests.parts import tiny

STEPS, HALF = 20, 10
PROBE, PROBED = 4, ["MKTAYIAKQRQISFVKSHFSRQ", "GSHM"]
CPU = torch.device("cpu")
_WAITS: list[None] = []  # one for each time that DeepSpeed has waited for the device in this process
_Found = tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]  # for JSON, and tensors by kind and name


def spawn(ranks: int, data: dict[str, str], out: Path, tasks: Sequence[dict[str, Any]]) -> None:
    """Run tasks one after the other on this many ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, args=(ranks, port, data, out, list(tasks)), nprocs=ranks)


def result(out: Path, name: str) -> dict[str, Any]:
    """The result of a task; weights and averages as digests, which are equal for equal bits."""
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def tensors(out: Path, name: str, kind: str) -> dict[str, torch.Tensor]:
    """The final `weights` or `average` of a task with averaging."""
    return load_file(out / f"{name}.{kind}.safetensors")


def _rank(
    rank: int, ranks: int, port: int, data: dict[str, str], out: Path, tasks: list[dict[str, Any]]
) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ.update(MASTER_PORT=str(port), DS_ACCELERATOR="cpu", DS_LOG_LEVEL="error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    _count_waits()
    for task in tasks:
        found, ended = {"straight": _straight, "resumed": _resumed}[task["do"]](task, rank, ranks, data, out)
        if rank == 0:
            for kind, tensors in ended.items() if ended["average"] else ():
                save_file(tensors, out / f"{task['name']}.{kind}.safetensors")
            (out / f"{task['name']}.json").write_text(json.dumps(found))
        dist.barrier()
    dist.destroy_process_group()


def _count_waits() -> None:
    from deepspeed.accelerator import get_accelerator  # it chooses by DS_ACCELERATOR as it is imported

    accelerator = get_accelerator()
    wait = accelerator.synchronize

    def counted(*where: Any) -> None:
        _WAITS.append(None)
        wait(*where)

    accelerator.synchronize = counted


def _settings(task: dict[str, Any]) -> Settings:
    shared = {
        "adapter__skip_layers": 1,
        "head__dropout": 0.1,
        "zero__stage": task["stage"],
        "data__max_length": 120,
        "train__tokens_per_batch": 256,
        "train__micro_batches_per_step": 3,  # On two ranks one turn of each step is empty.
        "train__lr": 1e-3,
    }
    return tiny.settings(**{**shared, **task["settings"]})


def _straight(task: dict[str, Any], rank: int, ranks: int, data: dict[str, str], out: Path) -> _Found:
    """Train from the start, with a checkpoint half-way."""
    run = _Run(task, rank, ranks, data, None)
    before = fingerprint(run.model)
    losses = run.steps(0, HALF)
    progress = Progress(global_step=HALF, step_losses=losses)
    state = Checkpoint(progress, run.engine.weights(), run.engine.moments(), {}, run.averaged())
    if rank == 0:
        directory = out / f"{task['name']}.checkpoint"
        directory.mkdir()
        checkpoint.save(state, directory)
    losses += run.steps(HALF, STEPS)
    return run.found(losses, before)


def _resumed(task: dict[str, Any], rank: int, ranks: int, data: dict[str, str], out: Path) -> _Found:
    """Resume from another task's checkpoint."""
    saved = checkpoint.load(out / f"{task['from']}.checkpoint")
    run = _Run(task, rank, ranks, data, saved)
    before = fingerprint(run.model)
    return run.found(saved.progress.step_losses + run.steps(HALF, STEPS), before)


def _part_all() -> None:
    """Let ZeRO-3 partition small parameters as well: tiny models have no others."""
    from liftray.train import engine

    configure = engine.deepspeed_config

    def parting(*arguments: Any) -> dict[str, Any]:
        config = configure(*arguments)
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return config

    engine.deepspeed_config = parting


class _Run:
    def __init__(
        self, task: dict[str, Any], rank: int, ranks: int, data: dict[str, str], saved: Checkpoint | None
    ) -> None:
        from liftray.train.engine import Engine

        self.settings = _settings(task)
        backbone = tiny.backbone(task.get("family", "esm"), task.get("dtype", "float32"))
        backbone.recompute = self.settings.train.recompute_activations
        spec = tiny.feed_spec({"t": data["train"]}, {"v": data["valid"]}, self.settings)
        self.spec: FeedSpec = replace(spec, tokens=backbone.tokens)
        self.rank, self.ranks = rank, ranks
        self.model: Tagger = taggers.build(backbone, TaggerSettings.of(self.settings), seed=0)
        if saved is not None:
            for name, parameter in self.model.trained().items():
                parameter.data.copy_(saved.weights[name])
        if task.get("part_all"):
            _part_all()
        self.engine = Engine(
            self.model, self.settings.train, self.settings.zero, self.spec.turns(ranks), ranks, CPU
        )
        counts = self.spec.train.class_counts(self.settings.task, self.settings.ss3_map)
        self.loss = tiny.loss(self.settings, counts)
        self.average = self.engine.average(saved.average if saved else {})
        self.probes: dict[int, list[float]] = {}
        self.waits = 0  # of DeepSpeed for the device
        if saved is not None:
            self.engine.load_moments(saved.moments, saved.progress.global_step)

    def steps(self, first: int, last: int) -> list[float]:
        """Global steps of as many epochs as it takes; their mean losses."""
        self.model.train()
        gather, number, losses = Gather(self.spec), 0, []
        for epoch in range(STEPS):
            plan = self.spec.plan(epoch)
            turns: dict[int, list[dict[str, Any]]] = {}
            for row in Feed(self.spec, self.rank, self.ranks).plan_rows(epoch):
                if row["split"] == TRAIN:
                    turns.setdefault(row["step"], []).append(row)
            for local in range(plan.num_steps):
                if first <= number < last:
                    losses.append(self._step(number, [gather.gather(row) for row in turns[local]]))
                number += 1
            if number >= last:
                break
        return losses

    def _step(self, number: int, batches: list[Any]) -> float:
        lr = learning_rate(self.settings.train, number, STEPS)
        share = torch.zeros(())
        before = len(_WAITS)
        for batch in batches:
            inputs = step.Inputs.of(batch, CPU)
            share = share + step.train(self.engine, inputs, batch, self.loss, lr, self.settings.train.seed)
        self.waits += len(_WAITS) - before
        if self.average is not None:
            self.average.update(number + 1)
            if (number + 1) % PROBE == 0:
                self.probes[number + 1] = self._probe()
        dist.all_reduce(share)
        return share.item()

    def _probe(self) -> list[float]:
        """Logits of two chains with the averaged weights, within training, as validation computes them."""
        assert self.average is not None
        self.model.eval()
        with torch.no_grad(), self.average.applied():
            logits_TC = self.engine.module(*tiny.batch(self.model.backbone, PROBED))
        self.model.train()
        found: list[float] = logits_TC.flatten().tolist()
        return found

    def averaged(self) -> dict[str, torch.Tensor]:
        """The average, where there is one; every rank must call it."""
        return {} if self.average is None else self.average.weights()

    def found(self, losses: list[float], before: str) -> _Found:
        """What the tests compare; every rank must call it."""
        after = fingerprint(self.model)
        same = [None] * self.ranks
        dist.all_gather_object(same, after == before)
        ended = {"weights": self.engine.weights(), "average": self.averaged()}
        return {
            "losses": losses,
            **{kind: _digests(tensors) for kind, tensors in ended.items()},
            "probes": self.probes,
            "waits": self.waits,
            "frozen_same": all(same),
            "trained_dtypes": sorted({str(p.dtype) for p in self.model.trained().values()}),
            "frozen_dtypes": sorted({str(p.dtype) for p in self.model.frozen().values()}),
        }, ended


def _digests(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}
