"""Bottlenecks: sequential (Pfeiffer et al. 2021, ReLU) and parallel (He et al. 2022).

2026-11-23: `location` moves a bottleneck and changes nothing else: it always reads the residual stream, as Pfeiffer et
al. place it, behind the attention as well. Houlsby et al. (2019) would read what the attention adds to it.
"""

from typing import Any

from liftray.adapt.activation_bytes import ActivationBytes, ForwardPass
from liftray.adapt.kinds.base import Kind, Part, skipped_blocks, units
from liftray.backbone.dimensions import Dimensions
from liftray.sections import AdapterSettings


class Bottleneck(Kind):
    """A bottleneck behind the feed-forward part, behind the attention, or behind both."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import SeqBnConfig

        return SeqBnConfig(**self.library_options(settings, width))

    def library_options(self, settings: AdapterSettings, width: int) -> dict[str, Any]:
        """The options that all bottlenecks of the library take; arguments as `library_config`."""
        return {
            # The library divides the width by this and floors; the half keeps rounding from losing a unit.
            "reduction_factor": width / (self.width(settings, width) + 0.5),
            "mh_adapter": settings.location in ("attention", "both"),
            "output_adapter": settings.location in ("output", "both"),
            "leave_out": skipped_blocks(settings),
        }

    def width(self, settings: AdapterSettings, model_width: int) -> int:
        return units(settings, model_width)

    def parameters(self, settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
        width = self.width(settings, size.width)
        return blocks * places(settings) * (2 * size.width * width + width + size.width)

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        # The input and the units; in BERT the adapter is between two uses of the norm.
        copies = 2 if forward.size.family == "bert" else 1
        numbers = copies * forward.size.width + self.width(settings, forward.size.width)
        return ActivationBytes(forward.hidden * places(settings) * numbers)

    def reads_block_output(self, settings: AdapterSettings, family: str) -> bool:
        # BERT's blocks end in a norm that follows the adapter.
        return settings.location == "output" and family != "bert"

    def first_part(self, settings: AdapterSettings) -> Part:
        return "output" if settings.location == "output" else "feed_forward"


class ParallelBottleneck(Bottleneck):
    """A bottleneck that reads a part's input and adds to its output, times `parallel_scale`."""

    def library_config(self, settings: AdapterSettings, width: int) -> Any:
        from adapters import ParBnConfig

        return ParBnConfig(scaling=settings.parallel_scale, **self.library_options(settings, width))

    def activation_bytes(
        self, settings: AdapterSettings, forward: ForwardPass, *, lowest: bool = False
    ) -> ActivationBytes:
        return parallel_bytes(self.width(settings, forward.size.width), places(settings), forward, lowest)

    def reads_block_output(self, settings: AdapterSettings, family: str) -> bool:
        return False  # It reads a state within the block: the part's input.


def parallel_bytes(width: int, count: int, forward: ForwardPass, lowest: bool) -> ActivationBytes:
    """What parallel adapters of one block keep.

    Args:
        width: Units of each.
        count: How many there are in a block.
        forward: Sizes, precision and device.
        lowest: Whether the block is the lowest with adapters: then no norm below keeps the input for them.
    """
    separate = forward.parallel_input_is_separate
    numbers = count * (forward.size.width + width if separate else width)
    if lowest and not separate:
        numbers += forward.size.width
    return ActivationBytes(forward.hidden * numbers)


def places(settings: AdapterSettings) -> int:
    """Bottlenecks in a block."""
    return 2 if settings.location == "both" else 1
