"""Adapter kinds, and what the rest of LiftRay uses of a kind.

Invariant: importing this package or its modules imports neither torch nor the `adapters` library. No other module
compares the name of a kind: what depends on a kind is a method of `base.Kind`. To add a kind, write a module here and a
line in `sections.kinds.ADAPTERS`.
"""

from liftray.adapt import implementation
from liftray.adapt.kinds.base import Kind
from liftray.errors import ConfigError
from liftray.sections import AdapterSettings
from liftray.sections.kinds import ADAPTERS


def kind_of(settings: AdapterSettings) -> Kind:
    """The kind that an adapter section names."""
    kind: Kind = implementation.load(__name__, ADAPTERS[settings.kind].implementation)()
    return kind


def check(settings: AdapterSettings, num_blocks: int, where: str, width: int | None = None) -> None:
    """Refuse adapters that a backbone cannot have.

    Args:
        settings: The adapter section.
        num_blocks: Blocks of the backbone.
        where: Its name, for the error.
        width: Its width; None where it is not known yet, and checked later.

    Raises:
        ConfigError: `skip_layers` is not below the number of blocks, or the kind refuses the width.
    """
    if settings.skip_layers >= num_blocks:
        raise ConfigError(
            f"adapter.skip_layers={settings.skip_layers} leaves no block of {num_blocks} to adapt",
            where=where,
            remedy=f"choose 0 to {num_blocks - 1}, or method=features for a frozen backbone",
        )
    if width is not None:
        kind_of(settings).check(settings, width, where)


def entry(settings: AdapterSettings, family: str) -> int:
    """The block whose input is the last constant state: where training enters, and what a cache holds.

    Block k, or k + 1 where the adapters read the output of their block.

    Args:
        settings: The adapter section, with k = `skip_layers`.
        family: Family of the backbone: `esm`, `t5` or `bert`.
    """
    return settings.skip_layers + kind_of(settings).reads_block_output(settings, family)


def width_as_built(settings: AdapterSettings, model_width: int) -> int | None:
    """Bottleneck units or LoRA rank on a backbone of this width; None for a kind without a width.

    Examples:
        >>> from liftray.sections import AdapterSettings
        >>> width_as_built(AdapterSettings(kind="compacter", reduction_factor=64), 320)
        4
        >>> width_as_built(AdapterSettings(kind="ia3"), 320) is None
        True
    """
    return kind_of(settings).width(settings, model_width)
