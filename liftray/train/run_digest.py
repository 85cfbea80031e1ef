"""The digest that a run's checkpoints carry, and by which a resumed run knows its own.

Invariant: workers, ZeRO stage and places of files are not part of it; the content of data sets and weights is.
Flow: prepare -> [this] -> resume, and the ledger of a search.
"""

import hashlib
import json
from typing import Any

from liftray.backbone.sources import ResolvedBackbone
from liftray.config import Settings
from liftray.data.feed import FeedSpec
from liftray.sections.digest import result_digest
from liftray.sections.section import Effect, marked


def run_digest(settings: Settings, backbone: ResolvedBackbone, feed: FeedSpec) -> str:
    """Digest of all that the losses of a run depend on.

    Args:
        settings: The run's settings.
        backbone: The backbone that they lead to.
        feed: The data that they lead to.

    Returns:
        sha256 in hexadecimal.
    """
    return result_digest(settings, _resolved(settings, backbone, feed))


def first_version_digest(settings: Settings, backbone: ResolvedBackbone, feed: FeedSpec) -> str | None:
    """The digest that version 0.1 wrote for the same run, so that its checkpoints still resume.

    Returns:
        sha256 in hexadecimal; None where a setting that version 0.1 did not know has another value than its default.
    """
    results = {key: value for key, effect, value in marked(settings) if effect is Effect.RESULT}
    defaults = {key: value for key, _, value in marked(Settings())}
    if any(value != defaults[key] for key, value in results.items() if key not in _FIRST_VERSION_KEYS):
        return None
    resolved = _resolved(settings, backbone, feed)
    content: dict[str, Any] = {
        "max_length": settings.data.max_length,
        "data": [resolved["data.train"], resolved["data.valid"]],
        "backbone": [resolved["backbone.source"], settings.backbone.dtype],
        "hidden": resolved["cache.dtype"],
        "by_length": resolved["scaling.use_gpu"],
    }
    for key in _FIRST_VERSION_KEYS - {"data.max_length", "backbone.dtype"}:
        *sections, name = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = results[key]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _resolved(settings: Settings, backbone: ResolvedBackbone, feed: FeedSpec) -> dict[str, Any]:
    """What the `Resolved` settings lead to."""
    rounding = _rounding(settings)
    return {
        "data.train": [dataset.digest for dataset in feed.train.datasets],
        "data.valid": [dataset.digest for dataset in feed.valid.datasets],
        "backbone.source": backbone.digest,
        "cache.enabled": rounding is not None,
        "cache.dtype": rounding,
        # A GPU changes what a run computes only where it changes which windows share a micro-batch.
        "scaling.use_gpu": feed.by_length,
    }


def _rounding(settings: Settings) -> str | None:
    """How the hidden states at the cut are rounded by storing them; None where a cache changes nothing."""
    cache, computed = settings.cache, settings.backbone.dtype
    exact = cache.enabled is False or cache.dtype in ("auto", "float32", computed)
    return None if exact else cache.dtype


_FIRST_VERSION_KEYS = {
    "task", "ss3_map", "method", "data.max_length", "backbone.dtype",
    "adapter.kind", "adapter.reduction_factor", "adapter.skip_layers", "adapter.location", "adapter.lora_location",
    "adapter.parallel_scale", "adapter.hypercomplex_dim", "adapter.prefix_length", "adapter.prefix_hidden",
    "head.kind", "head.dropout", "head.temperature", "head.mix_blocks",
    "loss.kind", "loss.label_smoothing", "loss.class_weights", "loss.scale", "loss.max_margin",
    "loss.multitask.ss8", "loss.multitask.ss3",
    "train.epochs", "train.lr", "train.weight_decay", "train.warmup_ratio", "train.schedule", "train.grad_clip",
    "train.tokens_per_batch", "train.micro_batches_per_step", "train.patience", "train.seed", "train.start_from",
    "train.average", "train.average_decay",
}  # fmt: skip
