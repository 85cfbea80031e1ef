"""The adapters of a model: attached, activated, saved and loaded.

Invariant: the lowest k blocks get no adapter, and nothing but adapters trains in the backbone. Of all modules only this
one, `library`, the kinds' `library_config`, `backbone.prefix_tuning` and `backbone.esm_adapters` know the `adapters`
library.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from liftray.adapt import kinds
from liftray.sections import AdapterSettings

if TYPE_CHECKING:
    from torch import Tensor

    from liftray.backbone.model import Backbone
    from liftray.backbone.packed import WindowLayout

ADAPTER_NAME = "liftray"


def attach(backbone: "Backbone", settings: AdapterSettings) -> None:
    """Add adapters to the blocks above the cut and activate them; nothing below changes.

    Args:
        backbone: A loaded backbone without adapters.
        settings: Kind, its settings and the cut.

    Raises:
        ConfigError: The backbone cannot have them; see `kinds.check`.
    """
    from liftray.adapt import library

    kinds.check(settings, backbone.num_blocks, backbone.resolved.name, backbone.width)
    prepare(backbone)
    with _quiet():
        backbone.hf.add_adapter(
            ADAPTER_NAME, config=kinds.kind_of(settings).library_config(settings, backbone.width)
        )
    activate(backbone)
    library.set_exact_magnitudes(backbone.hf)


def prepare(backbone: "Backbone") -> None:
    """Add the `adapters` library's methods to a backbone, through the plugin interface where the family needs it."""
    import adapters

    from liftray.adapt import library
    from liftray.backbone import esm_adapters

    with _quiet():
        init = esm_adapters.init if backbone.family == "esm" else adapters.init
        init(backbone.hf)
    library.share_prefixes_once(backbone.hf)


def activate(backbone: "Backbone") -> None:
    """Use the adapter in every forward, and let nothing else of the backbone train."""
    from liftray.adapt import library

    with _quiet():
        backbone.hf.set_active_adapters(ADAPTER_NAME)
    # `train_adapter` would also reach into settings of the library's own trainer; only the flags matter here.
    for name, parameter in backbone.hf.named_parameters():
        parameter.requires_grad_(f".{ADAPTER_NAME}." in f".{name}.")
    library.use_packed_forwards(backbone.hf)


def save(backbone: "Backbone", directory: Path) -> None:
    """Write the adapters into a new directory in the library's format: safetensors and JSON."""
    from liftray.adapt import library

    backbone.hf.save_adapter(
        str(directory),
        ADAPTER_NAME,
        use_safetensors=True,
        custom_weights_loaders=[library.CompacterLoader(backbone.hf, use_safetensors=True)],
    )


def check_saved(directory: Path, settings: AdapterSettings, family: str, width: int) -> None:
    """Compare what the library's file describes with the settings: the library builds what its file says, of any size.

    Args:
        directory: The adapters in the library's form.
        settings: What they must be.
        family: Family of the backbone.
        width: Its width.

    Raises:
        BundleError: The file is damaged or describes other adapters; the error names both values.
    """
    from liftray.adapt import library_file

    expected = kinds.kind_of(settings).library_config(settings, width).to_dict()
    library_file.check(directory, expected, settings, family, width)


def load(backbone: "Backbone", directory: Path) -> None:
    """Put saved adapters, which `check_saved` has checked, into a backbone without any and activate them.

    Raises:
        KeyError: The files do not hold exactly the tensors of the adapters that they describe; the library itself
            would continue with random ones.
    """
    from safetensors import safe_open

    prepare(backbone)
    backbone.hf.load_adapter(str(directory), load_as=ADAPTER_NAME, use_safetensors=True)
    activate(backbone)
    wanted = {name for name, parameter in backbone.hf.named_parameters() if parameter.requires_grad}
    saved: set[str] = set()
    for path in directory.glob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            saved.update(tensors.keys())
    if saved != wanted:
        raise KeyError(min(saved ^ wanted))


def forward_context(
    backbone: "Backbone", hidden_1TD: "Tensor", layout: "WindowLayout"
) -> contextlib.AbstractContextManager[None]:
    """The state that the library's layers read while the blocks above the cut run; it may be entered again."""
    from liftray.adapt import library

    return cast(
        contextlib.AbstractContextManager[None], library.forward_context(backbone.hf, hidden_1TD, layout)
    )


@contextlib.contextmanager
def inactive() -> Iterator[None]:
    """Run blocks without their adapters, as the frozen prefix does."""
    from adapters.context import AdapterSetup

    with AdapterSetup(None):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's warnings while it inspects a model whose adapter is not active yet."""
    logger = logging.getLogger("adapters")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
