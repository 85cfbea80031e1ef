"""Adapter kinds by name: from a name and a width to what the `adapters` library builds.

Invariant: the lowest k blocks get no adapter. This is the only module, with the bundle's saving and loading, that
imports `adapters`.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from liftray.backbone.families import ADAPTER_INTERFACE
from liftray.config import AdapterSettings
from liftray.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from liftray.backbone.model import Backbone

ADAPTER_NAME = "liftray"


def check(settings: AdapterSettings, num_blocks: int, where: str) -> None:
    """Refuse a cut that leaves no block to adapt.

    Raises:
        ConfigError: `skip_layers` is not below the number of blocks.
    """
    if settings.skip_layers >= num_blocks:
        raise ConfigError(
            f"adapter.skip_layers={settings.skip_layers} leaves no block of {num_blocks} to adapt",
            where=where,
            remedy=f"choose 0 to {num_blocks - 1}, or method=features for a frozen backbone",
        )


def entry(settings: AdapterSettings, family: str) -> int:
    """The block whose input is the last constant state: where training enters, and what a cache holds.

    A bottleneck reads the output of its block, so block k itself is constant too and training enters behind it, at the
    adapter; LoRA sits inside block k. BERT's blocks end in a norm that follows the adapter.
    """
    behind = settings.kind == "bottleneck" and family != "bert"
    return settings.skip_layers + behind


def attach(backbone: "Backbone", settings: AdapterSettings) -> None:
    """Add adapters to the blocks above the cut and activate them; nothing below changes.

    Args:
        backbone: A loaded backbone without adapters.
        settings: Kind, width and cut.

    Raises:
        ConfigError: `skip_layers` is not below the number of blocks.
    """
    check(settings, backbone.num_blocks, backbone.resolved.name)
    prepare(backbone)
    with _quiet():
        backbone.hf.add_adapter(ADAPTER_NAME, config=library_config(settings, backbone.width))
    activate(backbone)


def prepare(backbone: "Backbone") -> None:
    """Give the backbone the `adapters` library's methods, through the plugin interface where the family needs it."""
    import adapters
    from adapters import AdapterModelInterface

    interface = ADAPTER_INTERFACE[backbone.family]
    with _quiet():
        adapters.init(backbone.hf, interface=AdapterModelInterface(**interface) if interface else None)


def activate(backbone: "Backbone") -> None:
    """Use the adapter in every forward, and let nothing else of the backbone train."""
    with _quiet():
        backbone.hf.set_active_adapters(ADAPTER_NAME)
    # `train_adapter` would also reach into settings of the library's own trainer; only the flags matter here.
    for name, parameter in backbone.hf.named_parameters():
        parameter.requires_grad_(f".{ADAPTER_NAME}." in f".{name}.")


def library_config(settings: AdapterSettings, width: int) -> Any:
    """The `adapters` config object of a kind.

    Bottleneck: after the feed-forward part (Pfeiffer et al. 2021), ReLU, as in Yang, Liu & Li (2023). LoRA (Hu et al.
    2022): on query and value, rank = width / reduction_factor, scaling 1.
    """
    from adapters import LoRAConfig, SeqBnConfig

    skipped = list(range(settings.skip_layers))
    if settings.kind == "bottleneck":
        # The library divides the width itself and floors; a factor above the width means one unit.
        return SeqBnConfig(reduction_factor=min(settings.reduction_factor, width), leave_out=skipped)
    rank = max(1, width // settings.reduction_factor)
    return LoRAConfig(r=rank, alpha=rank, leave_out=skipped)


def forward_context(backbone: "Backbone", hidden_1TD: "Tensor") -> contextlib.AbstractContextManager[None]:
    """The state that the library's layers look up while the blocks above the cut run; may be entered again."""
    from adapters.context import ForwardContext

    return cast(contextlib.AbstractContextManager[None], ForwardContext(backbone.hf, hidden_1TD))


@contextlib.contextmanager
def inactive() -> Iterator[None]:
    """Blocks that run meanwhile run without their adapters: the last constant state is that of the frozen model."""
    from adapters.context import AdapterSetup

    with AdapterSetup(None):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the library says while it probes a model whose adapter is not active yet."""
    logger = logging.getLogger("adapters")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
