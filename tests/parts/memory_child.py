"""The program of a fresh process that measures the peak of training; see `contract/test_memory_estimate.py`."""

import gc
import os
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.model import Backbone, from_config
from liftray.config import Settings
from liftray.data.batch import PackedBatch
from liftray.train import memory, step
from tests.parts import tiny

CPU = torch.device("cpu")


def train(
    family: str, config: dict[str, Any], overrides: dict[str, Any], lengths: list[int], cached: bool
) -> dict[str, Any]:
    """Take two steps; give the largest resident memory during them, beyond that before the model.

    Args:
        family: Family of the backbone, whose weights are random.
        config: Its architecture, over the tiny one of its family.
        overrides: Settings.
        lengths: Tokens of the windows of the batch.
        cached: Whether the state at the cut is given, and the blocks below are dropped.
    """
    settings = tiny.settings(**overrides)
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR="cpu", DS_LOG_LEVEL="error")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    # Once with a minimal model, so that all code is loaded and every library has its own buffers.
    first = settings.replace({"adapter.skip_layers": min(settings.adapter.skip_layers, 1)})
    _run(first, tiny.backbone(family, settings.backbone.dtype), [20, 30], cached)
    gc.collect()
    before = _resident("VmRSS")
    backbone = from_config(family, {**tiny.CONFIGS[family], **config}, dtype=settings.backbone.dtype)
    size = Dimensions.of(family, backbone.resolved.config)
    peak = _run(settings, backbone, lengths, cached) - before
    dist.destroy_process_group()
    estimate = memory.training(settings, size, cached=cached)
    return {"peak": peak, "estimate": estimate.total, "parts": vars(estimate)}


def _run(settings: Settings, backbone: Backbone, lengths: list[int], cached: bool) -> int:
    from liftray.train.engine import Engine

    backbone.recompute = settings.train.recompute_activations
    shape = TaggerSettings.of(settings)
    if cached:
        backbone.first_block = shape.cut(backbone.family, backbone.num_blocks).entry
    model = taggers.build(backbone, shape, seed=0)
    engine = Engine(model, settings.train, settings.zero, 1, 1, CPU)
    best = engine.weights()
    model.train()
    gc.collect()
    # Measure from here on: building the weights may have needed more for a moment.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    stored = "bfloat16" if settings.backbone.dtype == "bfloat16" else "float32"
    # In the second step the optimizer's state exists.
    for number in range(2):
        batch = _batch(number, backbone, lengths, stored if cached else None)
        inputs = step.Inputs.of(batch, CPU, stored)
        share = step.train(engine, inputs, batch, tiny.loss(settings), 1e-3, 0)
        assert torch.isfinite(share)
    assert best
    return _resident("VmHWM")


def _batch(number: int, backbone: Backbone, lengths: list[int], stored: str | None) -> PackedBatch:
    rng = np.random.default_rng(number)
    total = sum(lengths)
    row_bytes = backbone.width * (2 if stored == "bfloat16" else 4)
    # Zeros are finite in every precision.
    hidden_TR = None if stored is None else np.zeros((total, row_bytes), dtype=np.uint8)
    return PackedBatch(
        split="train",
        epoch=0,
        step=number,
        micro=number,
        scored=total,
        tokens_T=rng.integers(5, 24, size=total),
        labels_T=rng.integers(0, 3, size=total),
        cu_lens=np.concatenate([[0], np.cumsum(lengths)]),
        items=np.arange(len(lengths)),
        hidden_TR=hidden_TR,
    )


def _resident(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024
