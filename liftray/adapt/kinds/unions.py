"""Kinds made of several: MAM (He et al. 2022) and UniPELT (Mao et al. 2022)."""

from typing import Any

from liftray.adapt.activation_bytes import ActivationBytes, ForwardPass
from liftray.adapt.kinds.base import Kind
from liftray.adapt.kinds.bottleneck import Bottleneck, ParallelBottleneck
from liftray.adapt.kinds.lora import Lora
from liftray.adapt.kinds.prefix_tuning import PrefixTuning
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings

_PREFIX, _BOTTLENECK, _PARALLEL, _LORA = PrefixTuning(), Bottleneck(), ParallelBottleneck(), Lora()


class Mam(Kind):
    """Prefixes, and a parallel bottleneck on the feed-forward part."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import MAMConfig

        return MAMConfig(_PREFIX.library_config(settings, width), _PARALLEL.library_config(settings, width))

    def width(self, settings: AdapterSettings, model_width: int) -> int:
        return _PARALLEL.width(settings, model_width)

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        return _PREFIX.parameters(settings, size, blocks) + _PARALLEL.parameters(settings, size, blocks)

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        # The prefixes are in the attention, so the norm above it is kept in the lowest block too.
        return _PREFIX.activation_bytes(settings, forward) + _PARALLEL.activation_bytes(settings, forward)

    def prefix_length(self, settings: AdapterSettings) -> int:
        return settings.prefix_length


class Unipelt(Kind):
    """Prefixes, a sequential bottleneck and LoRA in query and value, all gated."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import UniPELTConfig

        return UniPELTConfig(
            *(part.library_config(settings, width) for part in (_PREFIX, _BOTTLENECK, _LORA))
        )

    def width(self, settings: AdapterSettings, model_width: int) -> int:
        return _BOTTLENECK.width(settings, model_width)

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        # Gates: of the prefix, of the bottleneck, of the two LoRAs.
        gates = blocks * 4 * (size.width + 1)
        return gates + sum(part.parameters(settings, size, blocks) for part in (_PREFIX, _BOTTLENECK, _LORA))

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        parts = _PREFIX.activation_bytes(settings, forward) + _BOTTLENECK.activation_bytes(settings, forward)
        # The input of LoRA and its units, and what the gates of the bottleneck and of both LoRAs scale.
        gated = forward.size.width + 2 * forward.size.inner
        lora = forward.size.width + 2 * self.width(settings, forward.size.width)
        return parts + ActivationBytes(forward.hidden * (gated + lora))

    def prefix_length(self, settings: AdapterSettings) -> int:
        return settings.prefix_length
