"""Prefix tuning (Li & Liang 2021): trained keys and values in front of each window's own."""

from typing import Any

from liftray.adapt.activation_bytes import INT64, ActivationBytes, ForwardPass
from liftray.adapt.kinds.base import Kind, skipped_blocks
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings


class PrefixTuning(Kind):
    """Prefixes, trained themselves or made by a network; no width: `prefix_length` is along the chain."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import PrefixTuningConfig

        return PrefixTuningConfig(
            prefix_length=settings.prefix_length,
            flat=settings.prefix_hidden == 0,
            bottleneck_size=settings.prefix_hidden,
            leave_out=skipped_blocks(settings),
        )

    def width(self, settings: AdapterSettings, model_width: int) -> None:
        return None

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        made = blocks * 2 * size.inner
        if settings.prefix_hidden == 0:
            return settings.prefix_length * made
        hidden = settings.prefix_hidden
        return settings.prefix_length * size.width + (size.width + 1) * hidden + (hidden + 1) * made

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        # Each window's prefix in front of its keys and values, and the places where they go.
        longer = forward.attention * 2 * forward.size.inner * settings.prefix_length / forward.max_length
        return ActivationBytes(longer + 2 * INT64)

    def prefix_length(self, settings: AdapterSettings) -> int:
        return settings.prefix_length
