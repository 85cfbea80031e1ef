"""The estimate as a user meets it: one line, a warning, or a refusal before anything starts."""

import os
from collections.abc import Iterator

from liftray.backbone.dimensions import Dimensions
from liftray.backbone.sources import ResolvedBackbone
from liftray.backbone.tokens import MOST_SPECIALS
from liftray.config import RunSettings, ScalingSettings, Settings
from liftray.data.step_split import StepSplit
from liftray.errors import ConfigError
from liftray.progress import show_line
from liftray.train.memory.estimate import cut_of, training

# Share of a GPU's memory that an estimate may take: the rest is the allocator's, in pieces that nothing fits into.
USABLE = 0.9
# A run is refused only where the memory held throughout exceeds the whole GPU by this factor: an estimate may be wrong,
# and "16 GB" may be 16 GiB.
_REFUSED = 1.1


def report(settings: Settings, backbone: ResolvedBackbone) -> None:
    """Show in one line what a worker will need and, on a GPU, warn where that is more than it has.

    Args:
        settings: The run's settings; `scaling.gpu_memory_gb`, else this machine's smallest GPU, is the limit. Where
            neither is known (a driver without a GPU, a cluster elsewhere), there is no limit.
        backbone: The run's backbone.

    Raises:
        ConfigError: What does not depend on the batch (weights, gradients, optimizer) is clearly more than the GPU
            has. A user who knows better sets `scaling.gpu_memory_gb` higher.
    """
    size = Dimensions.of(backbone.family, backbone.config)
    may_cache = settings.cache.enabled is not False and cut_of(settings, size).has_prefix
    most = training(settings, size, cached=settings.cache.enabled is True and may_cache)
    least = training(settings, size, cached=True) if may_cache else most
    with_cache = f"; {least.total / 1e9:.2f} GB where the cache is used" if least != most else ""
    # glibc keeps freed blocks: measured processes held up to 1.8 times what was in use (`test_memory_estimate`).
    held = (
        ""
        if settings.scaling.use_gpu
        else "; a process on a CPU may hold twice that, in addition to its libraries"
    )
    show_line(f"memory: a worker is estimated to need {most}{with_cache}{held}")
    limit = _limit(settings.scaling, settings.run)
    if limit is None:
        return
    has = f"and its GPU has {limit / 1e9:.3g} GB"
    if least.resident > limit * _REFUSED:
        raise ConfigError(
            f"a worker's weights, gradients and optimizer need {least.resident / 1e9:.3g} GB {has}",
            remedy=remedies(settings, size, resident=True),
        )
    if most.total > limit * USABLE:
        show_line(f"memory: it may not fit: {most.total / 1e9:.3g} GB {has}; {remedies(settings, size)}")


def _limit(scaling: ScalingSettings, run: RunSettings) -> float | None:
    """Bytes of a worker's GPU, where this process can know them."""
    if not scaling.use_gpu:
        return None
    if scaling.gpu_memory_gb is not None:
        return scaling.gpu_memory_gb * 1e9
    if run.ray_address or os.environ.get("RAY_ADDRESS"):
        return None
    import torch

    sizes = [torch.cuda.get_device_properties(each).total_memory for each in range(torch.cuda.device_count())]
    return float(min(sizes)) if sizes else None


def remedies(settings: Settings, size: Dimensions, *, resident: bool = False) -> str:
    """What would make a run need less, the most harmless first.

    Args:
        settings: The run's settings.
        size: Sizes of its backbone.
        resident: Only for memory held throughout, with the cache in use already; also how to try the run despite the
            estimate.
    """
    listed = [] if resident else list(_for_activations(settings))
    if not resident and settings.cache.enabled is not True and cut_of(settings, size).has_prefix:
        listed.append("set cache.enabled=true")
    if settings.backbone.dtype == "float32" and settings.scaling.use_gpu:
        listed.append("set backbone.dtype=bfloat16")
    if settings.zero.stage != 3 and settings.scaling.num_workers > 1:
        listed.append("set zero.stage=3")
    listed.append("use a GPU with more memory")
    if resident:
        listed.append("set scaling.gpu_memory_gb higher to try it despite the estimate")
    return ", or ".join(listed)


def _for_activations(settings: Settings) -> Iterator[str]:
    least = settings.data.max_length + MOST_SPECIALS
    split = StepSplit.of(settings.train, least, settings.scaling.num_workers)
    if split is not None and split.largest > 2 * least:
        yield f"lower train.tokens_per_batch below {split.largest}"
    elif split is None and settings.train.tokens_per_batch > least:
        yield f"lower train.tokens_per_batch (to {least} at least) and raise train.micro_batches_per_step alike"
    if not settings.train.recompute_activations and settings.method != "features":
        yield "set train.recompute_activations=true"
