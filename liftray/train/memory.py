"""How much memory a worker of a run will need at its peak, estimated before anything is loaded.

Invariant: a pure function of settings and architecture; what it says of weights, gradients and optimizer state is
counted, what it says of activations is counted operation by operation (`activations`), and tests hold the sum against
measured peaks. Flow: launch -> [this] -> one line for the user, or a refusal.

Sources: parameters, gradients and Adam's two moments as in Rajbhandari et al. (2020, sections 3.1 and 5), in float32,
over the trained parameters P alone; ZeRO 1 and 2 divide the optimizer's state by the number of workers, ZeRO 3 the
frozen weights as well. What DeepSpeed adds: ZeRO 1 to 3 keep a float32 copy of what a worker's optimizer moves and
gather gradients in one bucket; ZeRO 3 holds as many gathered weights as it will use again soon.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from liftray.adapt import sizes
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.sources import ResolvedBackbone
from liftray.backbone.tokens import MOST_SPECIALS
from liftray.config import Settings
from liftray.errors import ConfigError
from liftray.progress import show_line
from liftray.train import activations
from liftray.train.activations import Device, Kept

_FLOAT32, _INT64 = 4, 8
# DeepSpeed's defaults, in numbers: ZeRO 3 keeps a gathered weight that is used again within 1e9 numbers, which forward
# and backward share, and gathers 5e7 ahead.
_KEPT_GATHERED, _AHEAD = 500_000_000, 50_000_000
# Gradients summed over ranks at a time, its own default, taken whole. The engine asks for no more than train.
LARGEST_BUCKET = 500_000_000
# Allowed for a CUDA context with torch's kernels, and for cuBLAS' and NCCL's own memory; no test measures it.
_CONTEXT = 800_000_000
# Share of a GPU's memory that an estimate may take: the rest is the allocator's, in pieces that nothing fits into.
USABLE = 0.9
# A run is refused where what stays throughout exceeds the whole GPU by this, not before: an estimate may be wrong, and
# "16 GB" may be 16 GiB.
REFUSED = 1.1


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker at its peak.

    Attributes:
        weights: Frozen and trained weights that lie there throughout.
        gradients: Of the trained parameters.
        optimizer: Adam's moments, under ZeRO the float32 copy that it moves, and the average where one is kept.
        activations: What forward keeps for backward, and the batch.
        workspace: What is there for a moment beside them, and a GPU's own.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int

    @property
    def resident(self) -> int:
        """What does not depend on the batch: weights, gradients, optimizer."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.resident + self.activations + self.workspace

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "workspace")
        listed = ", ".join(f"{name} {getattr(self, name) / 1e9:.2f}" for name in parts)
        return f"{self.total / 1e9:.2f} GB ({listed})"


def tell(settings: Settings, backbone: ResolvedBackbone) -> None:
    """Say in one line what a worker will need and, on a GPU, warn where that is more than it has.

    Args:
        settings: The run's settings; `scaling.gpu_memory_gb`, else this machine's smallest GPU, is the limit. Where
            neither is known (a driver without a GPU, a cluster elsewhere), nothing is held against it.
        backbone: The backbone that was found.

    Raises:
        ConfigError: What does not depend on the batch (weights, gradients, optimizer) is clearly more than the GPU
            has. A user who knows better sets `scaling.gpu_memory_gb` higher.
    """
    size = Dimensions.of(backbone.family, backbone.config)
    may_cache = settings.cache.enabled is not False and _entry(settings, size) > 0
    most = training(settings, size, cached=settings.cache.enabled is True and may_cache)
    least = training(settings, size, cached=True) if may_cache else most
    beside = f"; {least.total / 1e9:.2f} GB where the cache is used" if least != most else ""
    # glibc keeps freed blocks: measured processes held up to 1.8 times what was in use (`test_memory_estimate`).
    kept = (
        "" if settings.scaling.use_gpu else "; a process on a CPU may hold twice that, beside its libraries"
    )
    show_line(f"memory: a worker is estimated to need {most}{beside}{kept}")
    limit = _limit(settings)
    if limit is None:
        return
    has = f"and its GPU has {limit / 1e9:.3g} GB"
    if least.resident > limit * REFUSED:
        raise ConfigError(
            f"a worker's weights, gradients and optimizer need {least.resident / 1e9:.3g} GB {has}",
            remedy=remedies(settings, size, resident=True),
        )
    if most.total > limit * USABLE:
        show_line(f"memory: it may not fit: {most.total / 1e9:.3g} GB {has}; {remedies(settings, size)}")


def _limit(settings: Settings) -> float | None:
    """Bytes of a worker's GPU, as far as this process can know."""
    if not settings.scaling.use_gpu:
        return None
    if settings.scaling.gpu_memory_gb is not None:
        return settings.scaling.gpu_memory_gb * 1e9
    if settings.run.ray_address or os.environ.get("RAY_ADDRESS"):
        return None
    import torch

    found = [torch.cuda.get_device_properties(each).total_memory for each in range(torch.cuda.device_count())]
    return float(min(found)) if found else None


def device_of(settings: Settings) -> Device:
    """Where a run's workers compute."""
    return "cuda" if settings.scaling.use_gpu else "cpu"


def training(settings: Settings, size: Dimensions, *, cached: bool) -> Memory:
    """Estimate the peak of a training worker.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        cached: Whether the frozen prefix is read from the cache, so that the blocks below the cut are not loaded.

    Returns:
        Its parts. On a CPU, where no device has memory of its own, the copy of the best weights is among them.
    """
    entry = _entry(settings, size)
    weights, gradients, optimizer, gathered = _states(settings, size, entry if cached else 0)
    kept = _kept(settings, size, entry, cached=cached)
    peak = _peak(settings, size, entry, kept, cached=cached)
    own = _CONTEXT if settings.scaling.use_gpu else _FLOAT32 * sizes.trained(settings, size).total
    workspace = peak - kept + gathered + own
    if settings.zero.stage == 3:
        # Every worker loads all weights before they are divided.
        loaded = size.parameters(entry if cached else 0) * _bytes(settings) + own
        workspace = max(workspace, loaded - weights - gradients - optimizer - kept)
    return Memory(weights, gradients, optimizer, kept, workspace)


def forward(settings: Settings, size: Dimensions, tokens: int) -> Memory:
    """Estimate the peak of a process that runs the whole model forward: a fill of the cache, a prediction.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        tokens: Tokens of a batch; on a CPU the windows run one by one.
    """
    device = device_of(settings)
    trained = sizes.trained(settings, size)
    weights = (size.parameters() - trained.backbone) * _bytes(settings) + trained.total * _FLOAT32
    rows = tokens if device == "cuda" else _window(settings)
    workspace = rows * activations.passing(settings, size, device, backward=False)
    hidden = 2 * tokens * size.width * _bytes(settings)
    return Memory(weights, 0, 0, hidden, int(workspace) + (_CONTEXT if device == "cuda" else 0))


def remedies(settings: Settings, size: Dimensions, *, resident: bool = False) -> str:
    """What would make a run need less, most harmless first.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        resident: Only of what stays throughout, the cache used already; and how to go on all the same.
    """
    found = [] if resident else list(_for_activations(settings))
    if not resident and settings.cache.enabled is not True and _entry(settings, size) > 0:
        found.append("set cache.enabled=true")
    if settings.backbone.dtype == "float32" and settings.scaling.use_gpu:
        found.append("set backbone.dtype=bfloat16")
    if settings.zero.stage != 3 and settings.scaling.num_workers > 1:
        found.append("set zero.stage=3")
    found.append("use a GPU with more memory")
    if resident:
        found.append("set scaling.gpu_memory_gb higher to try it all the same")
    return ", or ".join(found)


def _for_activations(settings: Settings) -> Iterator[str]:
    least = settings.data.max_length + MOST_SPECIALS
    if settings.train.tokens_per_batch > least:
        yield f"lower train.tokens_per_batch (to {least} at least) and raise train.micro_batches_per_step alike"
    if not settings.train.recompute_activations and settings.method != "features":
        yield "set train.recompute_activations=true"


def _entry(settings: Settings, size: Dimensions) -> int:
    from liftray.adapt import tagger

    return tagger.entry(settings.method, settings.adapter, size.family, size.blocks, settings.head.mix_blocks)


def _bytes(settings: Settings) -> int:
    return 2 if settings.backbone.dtype == "bfloat16" else _FLOAT32


def _window(settings: Settings) -> int:
    return settings.data.max_length + MOST_SPECIALS


def _states(settings: Settings, size: Dimensions, first_block: int) -> tuple[int, int, int, int]:
    """Weights, gradients, optimizer state, and weights that ZeRO 3 holds gathered."""
    stage, workers = settings.zero.stage, settings.scaling.num_workers
    trained = sizes.trained(settings, size)
    frozen = (size.parameters(first_block) - trained.backbone) * _bytes(settings)
    moved = _FLOAT32 * trained.total
    average = 0 if settings.train.average == "none" else moved // (workers if stage == 3 else 1)
    if stage == 0:
        return frozen + moved, moved, 2 * moved + average, 0
    # ZeRO 2 and 3 let go of a gradient that is not theirs once its bucket is summed.
    held = moved if stage == 1 else _FLOAT32 * min(trained.total, LARGEST_BUCKET)
    gradients, optimizer = held + moved // workers, 3 * moved // workers + average
    if stage < 3:
        return frozen + moved, gradients, optimizer, 0
    gathered = min(size.parameters(first_block), _KEPT_GATHERED + _AHEAD + size.block)
    return (frozen + moved) // workers, gradients, optimizer, gathered * _bytes(settings)


def _kept(settings: Settings, size: Dimensions, entry: int, *, cached: bool) -> int:
    """What forward keeps for backward, and the batch itself: tokens, labels and, from a cache, hidden states."""
    device, tokens = device_of(settings), settings.train.tokens_per_batch
    kept = activations.head(settings, size, device)
    if settings.method != "features":
        kept += _blocks_kept(settings, size, entry)
        kept += Kept(0.0, activations.shared(settings, size))
    if settings.backbone.dtype == "bfloat16":
        # Autocast's copies of the trained weights live as long as the graph.
        kept += Kept(0.0, 2.0 * sizes.trained(settings, size).total)
    batch = 2 * _INT64 + (_bytes(settings) * size.width if cached else 0)
    return int(tokens * (kept.token + batch) + kept.once)


def _blocks_kept(settings: Settings, size: Dimensions, entry: int) -> Kept:
    device, lowest, above = device_of(settings), Kept(), size.blocks - settings.adapter.skip_layers
    if settings.method == "adapter":
        lowest, above = activations.lowest(settings, size, device), above - 1
    block = activations.block(settings, size, device)
    if not settings.train.recompute_activations or above == 0:
        return lowest + Kept(block.token * above, block.once * above)
    # The input of each block, and what one block keeps while it is run again; an adapter at the cut is outside of that.
    apart = lowest if entry > settings.adapter.skip_layers else Kept()
    return apart + Kept(_bytes(settings) * size.width * above) + block


def _peak(settings: Settings, size: Dimensions, entry: int, kept: int, *, cached: bool) -> int:
    """The most that stands beside weights, gradients and optimizer at one of the moments of a step."""
    device, tokens = device_of(settings), settings.train.tokens_per_batch
    # A matrix is laid out anew for its product.
    matrix = _bytes(settings) * size.width * max(size.feed_forward, size.inner)
    # In the head's backward pass; in the optimizer's step, when the activations are gone again.
    moments: list[float] = [kept + tokens * _head_passing(settings, size), _step(settings, size)]
    if entry < size.blocks:
        moments.append(kept + tokens * activations.passing(settings, size, device, backward=True) + matrix)
    if entry > 0 and not cached:
        # In the prefix, before anything is kept: the states that go in and come out, and a block's own.
        rows = tokens if device == "cuda" else min(tokens, _window(settings))
        states = 2 * tokens * _bytes(settings) * size.width
        moments.append(states + rows * activations.passing(settings, size, device, backward=False) + matrix)
    return int(max(moments))


def _head_passing(settings: Settings, size: Dimensions) -> int:
    if settings.head.kind == "linear":
        return 2 * _FLOAT32 * size.width
    return 4 * _FLOAT32 * (2 * sizes.LSTM_UNITS if settings.head.kind == "lstm" else sizes.UNIT)


def _step(settings: Settings, size: Dimensions) -> int:
    """What an optimizer step needs beside its state: a few numbers for each that it moves at a time."""
    stage, workers = settings.zero.stage, settings.scaling.num_workers
    trained = sizes.trained(settings, size)
    if stage > 0:
        return 3 * _FLOAT32 * trained.total // workers
    # All at once on a GPU, tensor by tensor on a CPU; and gradients are laid end to end to be summed over workers.
    moved = trained.total if settings.scaling.use_gpu else trained.largest
    return 2 * _FLOAT32 * moved + _FLOAT32 * trained.total
