"""Heads: from the last hidden state of each residue to class logits.

Invariant: no head reads padding or another chain. Positions outside the residue mask are zero before every convolution
that is wider than one, and an LSTM ends before them. Importing this package does not import torch; the modules of the
heads do. Flow: suffix -> [this] -> loss or prediction. To add a head, write a module with a `base.Head` and a line in
`sections.kinds.HEADS`.
"""

from typing import TYPE_CHECKING

from liftray.adapt import implementation
from liftray.sections import HeadSettings
from liftray.sections.kinds import HEADS

if TYPE_CHECKING:
    from liftray.adapt.heads.base import Head


def head_class(settings: HeadSettings) -> type["Head"]:
    """The class of the head that the section names; imports torch."""
    head: type[Head] = implementation.load(__name__, HEADS[settings.kind].implementation)
    return head


def build(settings: HeadSettings, width: int, classes: int, blocks: int = 1) -> "Head":
    """Make the head that the section names.

    Args:
        settings: The head section.
        width: Width D of the hidden state.
        classes: Number of classes C.
        blocks: How many blocks' outputs there are to mix, with `mix_blocks`.
    """
    head = head_class(settings).build(settings, width, classes)
    if settings.mix_blocks:
        from liftray.adapt.heads.block_mix import BlockMix

        head.mix = BlockMix(blocks)
    return head
