"""Low-rank updates of weights: LoRA (Hu et al. 2022) and DoRA (Liu et al. 2024), rank r, scaling 1."""

from typing import Any, ClassVar

from liftray.adapt.activation_bytes import FLOAT32, ActivationBytes, ForwardPass
from liftray.adapt.kinds.base import Kind, Part, skipped_blocks, units
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings


class Lora(Kind):
    """LoRA in query and value, in the feed-forward part's two layers, or in all four."""

    use_dora: ClassVar[bool] = False

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import LoRAConfig

        rank = units(settings, width)
        feed_forward = settings.lora_location in ("feed_forward", "both")
        return LoRAConfig(
            r=rank,
            alpha=rank,
            selfattn_lora=settings.lora_location in ("attention", "both"),
            intermediate_lora=feed_forward,
            output_lora=feed_forward,
            use_dora=self.use_dora,
            leave_out=skipped_blocks(settings),
        )

    def width(self, settings: AdapterSettings, model_width: int) -> int:
        return units(settings, model_width)

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        rank = units(settings, size.width)
        return blocks * sum(rank * (given + made) for given, made in adapted_layers(settings, size))

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        size = forward.size
        numbers = len(adapted_layers(settings, size)) * units(settings, size.width)
        if settings.lora_location != "feed_forward":
            # A copy for each layer where autocast has to make it.
            copied = forward.hidden < FLOAT32 and forward.device == "cuda" and size.family != "t5"
            numbers += (2 if copied else 1) * size.width
        if settings.lora_location != "attention":
            numbers += size.width + (0 if size.activation in ("relu", "gated-relu") else size.feed_forward)
        return ActivationBytes(forward.hidden * numbers)

    def first_part(self, settings: AdapterSettings) -> Part:
        return "feed_forward" if settings.lora_location == "feed_forward" else "attention"


class Dora(Lora):
    """LoRA whose changed weight is scaled to trained norms, row by row."""

    use_dora = True

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        norms = sum(made for _, made in adapted_layers(settings, size))
        return super().parameters(settings, size, blocks) + blocks * norms

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        # The layers' results before they are scaled, and each changed weight, whose norms are taken.
        layers = adapted_layers(settings, forward.size)
        scaled = forward.hidden * sum(made for _, made in layers)
        changed = FLOAT32 * sum(given * made for given, made in layers)
        return super().activation_bytes(settings, forward) + ActivationBytes(scaled, changed)


def adapted_layers(settings: AdapterSettings, size: Dimensions) -> list[tuple[int, int]]:
    """Widths (input, output) of the layers of a block that have a low-rank update."""
    attention = 2 * [(size.width, size.inner)]
    feed_forward = [(size.width, size.feed_forward), (size.feed_forward, size.width)]
    where = settings.lora_location
    return [*(attention if where != "feed_forward" else []), *(feed_forward if where != "attention" else [])]
