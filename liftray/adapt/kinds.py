"""Adapter kinds by name: from a name and its settings to what the `adapters` library builds.

Invariant: the lowest k blocks get no adapter. Of all modules only this one, `fitted`, `backbone.prefix_tuning` and
`backbone.esm_adapters` know the `adapters` library.

2026-11-23: `location` moves a bottleneck and changes nothing else: it always reads the residual stream, as Pfeiffer et
al. (2021) place it, behind the attention as well. Houlsby et al. (2019) would read what the attention adds to it.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from liftray.config import AdapterSettings
from liftray.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from liftray.backbone.model import Backbone
    from liftray.backbone.packed import WindowLayout

ADAPTER_NAME = "liftray"
_COMPACTERS = ("compacter", "parallel_compacter")


def check(settings: AdapterSettings, num_blocks: int, where: str, width: int | None = None) -> None:
    """Refuse what this backbone cannot have.

    Args:
        settings: Kind, its settings and the cut.
        num_blocks: Blocks of the backbone.
        where: Its name, for the error.
        width: Its width; None where it is not known yet, and checked later.

    Raises:
        ConfigError: `skip_layers` is not below the number of blocks, or a compacter's dimension does not divide the
            width.
    """
    if settings.skip_layers >= num_blocks:
        raise ConfigError(
            f"adapter.skip_layers={settings.skip_layers} leaves no block of {num_blocks} to adapt",
            where=where,
            remedy=f"choose 0 to {num_blocks - 1}, or method=features for a frozen backbone",
        )
    if settings.kind in _COMPACTERS and width is not None and width % settings.hypercomplex_dim:
        raise ConfigError(
            f"adapter.hypercomplex_dim={settings.hypercomplex_dim} does not divide the width {width}, and a "
            f"{settings.kind}'s matrices are Kronecker products of that many factors",
            where=where,
            remedy="choose a divisor of the width, such as 4",
        )


def entry(settings: AdapterSettings, family: str) -> int:
    """The block whose input is the last constant state: where training enters, and what a cache holds.

    A bottleneck or compacter reads the output of its block, so block k itself is constant too and training enters
    behind it, at the adapter. All others enter block k: its attention or its feed-forward layers hold what trains, or
    the adapter reads a state within it (a parallel one the feed-forward part's input). BERT's blocks end in a norm
    that follows the adapter.
    """
    behind = (
        settings.kind in ("bottleneck", "compacter") and settings.location == "output" and family != "bert"
    )
    return settings.skip_layers + behind


def attach(backbone: "Backbone", settings: AdapterSettings) -> None:
    """Add adapters to the blocks above the cut and activate them; nothing below changes.

    Args:
        backbone: A loaded backbone without adapters.
        settings: Kind, its settings and the cut.

    Raises:
        ConfigError: The backbone cannot have them; see `check`.
    """
    from liftray.adapt import fitted

    check(settings, backbone.num_blocks, backbone.resolved.name, backbone.width)
    prepare(backbone)
    with _quiet():
        backbone.hf.add_adapter(ADAPTER_NAME, config=library_config(settings, backbone.width))
    activate(backbone)
    fitted.exact_magnitudes(backbone.hf)


def prepare(backbone: "Backbone") -> None:
    """Give the backbone the `adapters` library's methods, through the plugin interface where the family needs it."""
    import adapters

    from liftray.adapt import fitted
    from liftray.backbone import esm_adapters

    with _quiet():
        init = esm_adapters.init if backbone.family == "esm" else adapters.init
        init(backbone.hf)
    fitted.share_prefixes_once(backbone.hf)


def activate(backbone: "Backbone") -> None:
    """Use the adapter in every forward, and let nothing else of the backbone train."""
    from liftray.adapt import fitted

    with _quiet():
        backbone.hf.set_active_adapters(ADAPTER_NAME)
    # `train_adapter` would also reach into settings of the library's own trainer; only the flags matter here.
    for name, parameter in backbone.hf.named_parameters():
        parameter.requires_grad_(f".{ADAPTER_NAME}." in f".{name}.")
    fitted.fit(backbone.hf)


def save(backbone: "Backbone", directory: Path) -> None:
    """Write the adapters into a new directory in the library's own form, as safetensors and JSON."""
    from liftray.adapt import fitted

    backbone.hf.save_adapter(
        str(directory),
        ADAPTER_NAME,
        use_safetensors=True,
        custom_weights_loaders=[fitted.Loader(backbone.hf, use_safetensors=True)],
    )


def load(backbone: "Backbone", directory: Path) -> None:
    """Put saved adapters into a backbone without any and activate them.

    Raises:
        KeyError: The files do not hold exactly the tensors of the adapters that they describe; the library itself
            would go on with random ones.
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


def library_config(settings: AdapterSettings, width: int) -> Any:
    """The `adapters` config object of a kind, with activations and initial weights as published.

    Bottleneck: Pfeiffer et al. (2021), ReLU. Parallel: He et al. (2022). Compacter: Mahabadi et al. (2021), the form
    without a norm. LoRA (Hu et al. 2022), DoRA (Liu et al. 2024): rank = width / reduction_factor, scaling 1. IA3: Liu
    et al. (2022). Prefix tuning: Li & Liang (2021). MAM: prefixes and a parallel adapter (He et al. 2022). UniPELT:
    prefixes, bottleneck and LoRA, all gated (Mao et al. 2022).
    """
    from adapters import ConfigUnion, IA3Config, MAMConfig, UniPELTConfig

    kind, skipped = settings.kind, list(range(settings.skip_layers))
    if kind in ("lora", "dora"):
        return _lora(settings, width, settings.lora_location, use_dora=kind == "dora")
    if kind == "ia3":
        return IA3Config(leave_out=skipped)
    if kind == "prefix_tuning":
        return _prefix(settings)
    if kind == "mam":
        return MAMConfig(_prefix(settings), _bottleneck(settings, width, parallel=True))
    if kind == "unipelt":
        lora = _lora(settings, width, "attention")
        gated: ConfigUnion = UniPELTConfig(_prefix(settings), _bottleneck(settings, width), lora)
        return gated
    return _bottleneck(settings, width, parallel=kind.startswith("parallel_"))


def _bottleneck(settings: AdapterSettings, width: int, *, parallel: bool = False) -> Any:
    from adapters import CompacterPlusPlusConfig, ParBnConfig, SeqBnConfig

    compacter, units = settings.kind in _COMPACTERS, max(1, width // settings.reduction_factor)
    options: dict[str, Any] = {"scaling": settings.parallel_scale} if parallel else {}
    if compacter:
        factors = settings.hypercomplex_dim
        units = max(1, units // factors) * factors
        options |= {"phm_dim": factors, "is_parallel": parallel}
    config = CompacterPlusPlusConfig if compacter else ParBnConfig if parallel else SeqBnConfig
    return config(
        # The library divides the width by this and floors; the half keeps rounding from losing a unit.
        reduction_factor=width / (units + 0.5),
        mh_adapter=settings.location in ("attention", "both"),
        output_adapter=settings.location in ("output", "both"),
        leave_out=list(range(settings.skip_layers)),
        **options,
    )


def _lora(settings: AdapterSettings, width: int, location: str, *, use_dora: bool = False) -> Any:
    from adapters import LoRAConfig

    rank, feed_forward = max(1, width // settings.reduction_factor), location in ("feed_forward", "both")
    return LoRAConfig(
        r=rank,
        alpha=rank,
        selfattn_lora=location in ("attention", "both"),
        intermediate_lora=feed_forward,
        output_lora=feed_forward,
        use_dora=use_dora,
        leave_out=list(range(settings.skip_layers)),
    )


def _prefix(settings: AdapterSettings) -> Any:
    from adapters import PrefixTuningConfig

    return PrefixTuningConfig(
        prefix_length=settings.prefix_length,
        flat=settings.prefix_hidden == 0,
        bottleneck_size=settings.prefix_hidden,
        leave_out=list(range(settings.skip_layers)),
    )


def forward_context(
    backbone: "Backbone", hidden_1TD: "Tensor", layout: "WindowLayout"
) -> contextlib.AbstractContextManager[None]:
    """The state that the library's layers look up while the blocks above the cut run; may be entered again."""
    from liftray.adapt import fitted

    return cast(contextlib.AbstractContextManager[None], fitted.context(backbone.hf, hidden_1TD, layout))


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
