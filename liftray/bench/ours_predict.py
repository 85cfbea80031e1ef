"""Our own prediction as a contestant, and the forward passes in it alone.

Invariant: both run the same tagger over the same chains; `forward` leaves out what is no model: tidying, tokenising,
softmax, stitching. Flow: workload -> [this] -> residues/s, compared with the pipeline's.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone.model import from_config, load
from liftray.backbone.packed import WindowLayout
from liftray.backbone.sources import resolve
from liftray.bench.bare import packed
from liftray.bench.competitors import models
from liftray.bench.workload import WARM_CHAINS, Timing, Workload
from liftray.config import AdapterSettings, HeadSettings
from liftray.data.labels import decode
from liftray.errors import DataError
from liftray.predict.prediction import Prediction
from liftray.predict.predictor import Predictor

_OPERATIONS = 8


def predictor(workload: Workload, *, tokens_per_batch: int = 4096) -> Timing:
    """Predict with `Predictor`; a pass is once over all chains, one that warms up over the first few.

    Args:
        workload: What is compared.
        tokens_per_batch: The predictor's budget.

    Returns:
        Seconds of each pass; the predicted states as `states` in its details.
    """
    model = Predictor(tagger(workload), {}, tokens_per_batch=tokens_per_batch)
    chains = [(identifier, sequence) for identifier, sequence, _ in workload.drawn()]

    def predict(count: int) -> list[str]:
        found = list(model.predict(chains[:count]))
        states = [each.states for each in found if isinstance(each, Prediction)]
        if len(states) < len(found):
            raise DataError("a chain of the workload was not predicted")
        return states

    return _timed(workload, predict)


def forward(workload: Workload, *, tokens_per_batch: int = 4096) -> Timing:
    """The model alone, over tokens that are batched before the clock starts, shortest chains first.

    Args:
        workload: What is compared.
        tokens_per_batch: Tokens of a packed batch.

    Returns:
        As `predictor`; in its details also the share of each operation in the time of a batch, as torch's profiler
        sees it.
    """
    model = tagger(workload)
    tokens = [torch.from_numpy(each.tokens_L) for each in workload.encoded()]
    first, last = model.tokens.num_leading, model.tokens.num_trailing

    @torch.inference_mode()
    def predict(count: int) -> list[str]:
        states = [""] * count
        lengths = [len(each) for each in tokens[:count]]
        order = sorted(range(count), key=lengths.__getitem__)
        for members in packed(lengths, order, tokens_per_batch):
            layout = WindowLayout.of(tuple(lengths[row] for row in members), workload.device)
            tokens_T = torch.cat([tokens[row] for row in members]).to(workload.device)
            codes = model.logits(tokens_T, layout).argmax(dim=1).cpu().split(layout.lengths)
            for row, codes_L in zip(members, codes, strict=True):
                states[row] = decode(codes_L[first : len(codes_L) - last].numpy(), workload.task)
        return states

    timing = _timed(workload, predict)
    return replace(
        timing,
        details={
            **timing.details,
            "operations": _operations(lambda: predict(min(WARM_CHAINS, len(tokens))), workload.device),
        },
    )


def _operations(run: Callable[[], Any], device: str) -> dict[str, float]:
    """The operations that take most of the device's time, and their shares."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[getattr(ProfilerActivity, device.upper())]) as seen:
        run()
    field = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    times = {each.key: getattr(each, field) for each in seen.key_averages()}
    whole = sum(times.values())
    most = sorted(times, key=times.__getitem__, reverse=True)[:_OPERATIONS]
    return {name: round(times[name] / whole, 3) for name in most}


def products(workload: Workload, *, tokens_per_batch: int = 4096) -> Timing:
    """The matrix products with the blocks' weights alone: what a model would take if all else were free.

    Args:
        workload: What is compared; weights and states are random.
        tokens_per_batch: Rows of a product.

    Returns:
        Seconds of each pass.
    """
    shape = workload.model
    place: Any = {"dtype": getattr(torch, workload.precision), "device": workload.device}
    sides = [(shape.width, shape.inner)] * 3 + [(shape.inner, shape.width)]
    sides += [(shape.width, shape.feed_forward), (shape.feed_forward, shape.width)]
    weights = [[torch.randn(rows, columns, **place) for rows, columns in sides] for _ in range(shape.blocks)]
    states = {rows: torch.randn(tokens_per_batch, rows, **place) for rows, _ in sides}

    @torch.inference_mode()
    def multiply(count: int) -> list[str]:
        left = sum(len(each.tokens_L) for each in workload.encoded()[:count])
        while left > 0:
            for block in weights:
                for weight in block:
                    states[len(weight)][:left] @ weight
            left -= tokens_per_batch
        return []

    return _timed(workload, multiply)


def tagger(workload: Workload) -> Tagger:
    """The workload's tagger, fresh, on its device and in evaluation mode."""
    shape: Any = workload.model
    place: Any = {"dtype": workload.precision, "device": workload.device}
    if models.pretrained(workload):
        backbone = load(resolve([shape.weights]), **place)
    else:
        backbone = from_config(shape.family, shape.config, workload.seed, **place)
    settings = TaggerSettings(
        task=workload.task,
        ss3_map="dssp",
        method="adapter",
        adapter=AdapterSettings(
            kind=workload.kind,
            reduction_factor=workload.reduction_factor,
            skip_layers=workload.skip_layers,
        ),
        head=HeadSettings(dropout=workload.dropout),
        max_length=workload.longest,
    )
    return taggers.build(backbone, settings, workload.seed).to(workload.device).eval()


def _timed(workload: Workload, predict: Callable[[int], list[str]]) -> Timing:
    lengths = [len(sequence) for _, sequence, _ in workload.drawn()]
    seconds, states = [], []
    for number in range(workload.warmup + workload.repeats):
        count = min(WARM_CHAINS, len(lengths)) if number < workload.warmup else len(lengths)
        models.wait(workload.device)
        start = time.perf_counter()
        states = predict(count)
        models.wait(workload.device)
        seconds.append(time.perf_counter() - start)
    return Timing(sum(lengths), seconds[workload.warmup :], {"states": states})
