"""How many parameters train, counted from settings without building a model.

Invariant: `count` gives what `Tagger.count` gives for the same settings and backbone. Pure arithmetic. Read by the
estimates of memory and time.
"""

from dataclasses import dataclass

from liftray.adapt import heads, kinds
from liftray.adapt.cut import Cut
from liftray.backbone.dimensions import Dimensions
from liftray.data.labels import STATES
from liftray.sections import AdapterSettings, HeadSettings


@dataclass(frozen=True)
class TrainedParameters:
    """Parameters that train.

    Attributes:
        adapter: In adapters.
        backbone: In the backbone's own blocks and final norm (`full`).
        head: In the head.
        largest: In the largest tensor, about.
    """

    adapter: int
    backbone: int
    head: int
    largest: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.adapter + self.backbone + self.head


def count(
    method: str, adapter: AdapterSettings, head: HeadSettings, task: str, size: Dimensions, cut: Cut
) -> TrainedParameters:
    """Count the parameters that train.

    Args:
        method: `adapter`, `full` or `features`.
        adapter: The adapter section.
        head: The head section.
        task: Alphabet that is predicted.
        size: Sizes of the backbone.
        cut: Where its frozen part ends.
    """
    backbone = 0
    if method == "full":
        backbone = cut.above * size.block + size.final_norm + (0 if cut.skipped else size.position_bias)
    in_adapters = kinds.kind_of(adapter).parameters(adapter, size, cut.above) if method == "adapter" else 0
    matrix = size.width * max(size.inner, size.feed_forward) if backbone else 0
    in_head = head_parameters(head, task, size.width, cut.above)
    largest = max(matrix, in_adapters // max(cut.above, 1), in_head // 4)
    return TrainedParameters(in_adapters, backbone, in_head, largest)


def head_parameters(head: HeadSettings, task: str, width: int, blocks: int) -> int:
    """Parameters of a head.

    Args:
        head: The head section.
        task: Alphabet that is predicted.
        width: Width D of the backbone.
        blocks: Blocks whose outputs `head.mix_blocks` mixes: `Cut.above`.
    """
    own = heads.head_class(head).parameter_count(width, len(STATES[task]))
    if not head.mix_blocks:
        return own
    from liftray.adapt.heads.block_mix import BlockMix

    return own + BlockMix.parameter_count(blocks)
