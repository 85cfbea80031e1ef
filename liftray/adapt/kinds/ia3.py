"""IA3 (Liu et al. 2022): trained factors of keys, values and the feed-forward part's activations."""

from typing import Any

from liftray.adapt.activation_bytes import ActivationBytes, ForwardPass
from liftray.adapt.kinds.base import Kind, skipped_blocks
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings


class Ia3(Kind):
    """IA3; it has no width and no settings of its own."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import IA3Config

        return IA3Config(leave_out=skipped_blocks(settings))

    def width(self, settings: AdapterSettings, model_width: int) -> None:
        return None

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        return blocks * (2 * size.inner + size.feed_forward)

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        return ActivationBytes(forward.hidden * (2 * forward.size.inner + forward.size.feed_forward))
