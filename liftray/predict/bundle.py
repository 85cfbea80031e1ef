"""The bundle: a trained model as a directory of JSON and safetensors, without the backbone.

Invariant: nothing is loaded that does not match: the backbone's digest is the recorded one, and every tensor file has
the sha256 that `bundle.json` names. No pickle. Flow: best checkpoint -> [this] -> registry -> predictor.

    bundle.json           what it is, what it was trained on, how it scored
    adapter/              the `adapters` library's own saved form (method `adapter` only)
    backbone.safetensors  the backbone's trained weights in float32 (method `full` only)
    head.safetensors      the head
    training.safetensors  hashes of the training chains, for checks of leakage

An ensemble's bundle holds whole bundles, member-1, member-2 ..., and a `bundle.json` that names them in `members`; see
`merge`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from liftray import __version__, files
from liftray.adapt import kinds, model_adapters, parameters
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.model import Backbone
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.config import BackboneSettings, Settings
from liftray.errors import BundleError, ConfigError
from liftray.predict.bundle_files import (
    ADAPTER,
    FORMAT_VERSION,
    HEAD,
    INFO,
    TRAINED,
    read_info,
    seal,
    shapes,
    tensors,
)
from liftray.predict.ensemble import Ensemble, share_weights
from liftray.predict.temperature import temperature_of
from liftray.predict.training_sketch import FILE as TRAINING
from liftray.predict.training_sketch import TrainingSketch

_RETRAIN = "train or export it again"
__all__ = ["FORMAT_VERSION", "LoadedBundle", "assemble", "described", "load", "read_info", "save", "seal"]


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle in memory.

    Attributes:
        tagger: The model, or the models that predict together, in evaluation mode.
        info: The content of `bundle.json`.
    """

    tagger: Tagger | Ensemble
    info: dict[str, Any]


def assemble(
    resolved: ResolvedBackbone, settings: TaggerSettings, dtype: str, weights: Mapping[str, Tensor]
) -> Tagger:
    """Build a tagger and put trained weights into it.

    Args:
        resolved: The backbone.
        settings: The tagger's shape.
        dtype: `float32` or `bfloat16`.
        weights: Trained weights by parameter name.

    Raises:
        BundleError: The weights are those of another model.
    """
    model = taggers.build(backbones.load(resolved, dtype=dtype), settings, seed=0)  # type: ignore[arg-type]
    trained = model.trained()
    if trained.keys() != weights.keys():
        raise BundleError(
            f"weights and model train different parameters, such as {min(trained.keys() ^ weights.keys())}",
            remedy="use the bundle with the LiftRay version that wrote it",
        )
    for name, parameter in trained.items():
        parameter.data.copy_(weights[name])
    return model.eval()


def save(
    tagger: Tagger,
    directory: Path,
    sources: Sequence[str],
    details: Mapping[str, Any],
    training: TrainingSketch | None = None,
) -> dict[str, Any]:
    """Write a bundle.

    Args:
        tagger: The trained model.
        directory: The new bundle; an existing bundle is replaced as a whole.
        sources: Backbone sources, to find it again.
        details: Further entries of `bundle.json`: data digests, metrics, run id and the like.
        training: What to keep of the training chains, for checks of leakage.

    Returns:
        What was written to `bundle.json`.
    """
    settings, resolved = tagger.settings, tagger.backbone.resolved
    with files.new_directory(directory) as fresh:
        head = {name: tensor.contiguous() for name, tensor in tagger.head.state_dict().items()}
        save_file(head, fresh / HEAD)
        if settings.method == "adapter":
            model_adapters.save(tagger.backbone, fresh / ADAPTER)
        elif settings.method == "full":
            above = tagger.backbone.above(tagger.cut.entry)
            save_file({name: weight.contiguous() for name, weight in above.items()}, fresh / TRAINED)
        if training is not None:
            training.save(fresh / TRAINING)
        info: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "liftray_version": __version__,
            "task": settings.task,
            "alphabet": settings.task,
            "ss3_map": settings.ss3_map,
            "backbone": {
                **resolved.as_dict(),
                "sources": list(sources),
                "dtype": "bfloat16" if tagger.backbone.is_bfloat16 else "float32",
            },
            "method": settings.method,
            "adapter": settings.adapter.model_dump(),
            "head": settings.head.model_dump(),
            "max_length": settings.max_length,
            "calibration": {"temperature": 1.0},
            "parameters": tagger.count(),
            **details,
        }
        return seal(fresh, info)


def load(directory: str | Path, *, sources: Sequence[str] | None = None) -> LoadedBundle:
    """Load a bundle and its backbone.

    Args:
        directory: The bundle.
        sources: Where to look for the backbone instead of the sources it names.

    Returns:
        The model on the CPU, in evaluation mode, and the content of `bundle.json`.

    Raises:
        BundleError: The bundle is damaged, or the backbone found is not the one it was trained on.
        BackboneError: No backbone source is reachable.
    """
    directory = Path(directory)
    info = read_info(directory)
    if "members" in info:
        return LoadedBundle(_load_members(directory, info, sources), info)
    settings, recorded = described(directory, info)
    resolved = resolve(sources or recorded["sources"])
    if resolved.digest != recorded["digest"]:
        raise BundleError(
            f"trained on backbone {recorded['digest'][:8]}…, but {resolved.source} is {resolved.digest[:8]}…",
            where=str(directory),
            remedy=f"give the weights it was trained on: {recorded['name']}",
        )
    _check_sizes(directory, settings, resolved)
    backbone = backbones.load(resolved, dtype=recorded["dtype"])
    if settings.method == "adapter":
        _read_adapter(backbone, directory, settings)
    elif settings.method == "full":
        _read_trained(backbone, directory, settings.adapter.skip_layers)
    try:
        tagger = Tagger(backbone, settings)
        tagger.head.load_state_dict(tensors(directory / HEAD))
    except (RuntimeError, ConfigError) as error:
        raise BundleError(
            f"{HEAD} does not hold the head that {INFO} describes",
            where=str(directory),
            remedy=_RETRAIN,
        ) from error
    return LoadedBundle(tagger.requires_grad_(False).eval(), info)


def described(directory: Path, info: Mapping[str, Any]) -> tuple[TaggerSettings, dict[str, Any]]:
    """Say what a bundle holds.

    Args:
        directory: The bundle, for the error.
        info: As `read_info` gives it.

    Returns:
        The tagger's shape, and what is recorded of its backbone.

    Raises:
        BundleError: `bundle.json` does not describe a model, or several.
    """
    if "members" in info:
        raise BundleError(
            "an ensemble, not one model",
            where=str(directory),
            remedy=f"name one of its members, such as {directory / 'member-1'}",
        )
    try:
        recorded = dict(info["backbone"])
        BackboneSettings(source=recorded["sources"], dtype=recorded["dtype"])
        checked = Settings.model_validate(
            {name: info[name] for name in ("task", "ss3_map", "method", "adapter", "head")}
            | {"data": {"max_length": info["max_length"]}}
        )
        if not all(isinstance(recorded[key], str) for key in ("digest", "name")):
            raise TypeError("backbone.digest and backbone.name are texts")
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{INFO} does not describe a model ({type(error).__name__}: {reason})",
            where=str(directory),
            remedy=_RETRAIN,
        ) from error
    return TaggerSettings.of(checked), recorded


def trained_weights(directory: str | Path) -> dict[str, Tensor]:
    """The trained weights of a bundle as `Tagger.trained` names them, in float32 on the CPU; the backbone is not read.

    Raises:
        BundleError: The bundle is damaged, or an ensemble.
    """
    directory = Path(directory)
    method = described(directory, read_info(directory))[0].method
    weights = {f"head.{name}": weight for name, weight in tensors(directory / HEAD).items()}
    if method == "adapter":
        for path in sorted((directory / ADAPTER).glob("*.safetensors")):
            weights |= {f"backbone.hf.{name}": weight for name, weight in tensors(path).items()}
    elif method == "full":
        weights |= {f"backbone.{name}": weight for name, weight in tensors(directory / TRAINED).items()}
    return weights


def _load_members(directory: Path, info: Mapping[str, Any], sources: Sequence[str] | None) -> Ensemble:
    """Load each member, a whole bundle; all its files have the digests that the ensemble's `bundle.json` names."""
    names = info["members"]
    if not isinstance(names, list) or not names or names != [f"member-{n + 1}" for n in range(len(names))]:
        raise BundleError(f"{INFO} names no members", where=str(directory), remedy="merge them again")
    members: list[Tagger] = []
    temperatures = []
    for name in names:
        loaded = load(directory / name, sources=sources)
        member, described_as = loaded.tagger, (info.get("task"), info.get("ss3_map"))
        if not isinstance(member, Tagger) or (member.alphabet, member.ss3_map) != described_as:
            raise BundleError(
                f"{name} is not a model as {INFO} describes it",
                where=str(directory),
                remedy="merge them again",
            )
        if members:
            share_weights(members[0].backbone, member.backbone)
        members.append(member)
        temperatures.append(temperature_of(loaded.info))
    return Ensemble(members, temperatures)


def _check_sizes(directory: Path, settings: TaggerSettings, resolved: ResolvedBackbone) -> None:
    """Refuse settings that the tensor files do not fit, before a model of these settings takes any memory."""
    size = Dimensions.of(resolved.family, resolved.config)
    try:
        cut = settings.cut(resolved.family, resolved.num_blocks)
        count = parameters.count(settings.method, settings.adapter, settings.head, settings.task, size, cut)
        if settings.method == "adapter":
            kinds.check(settings.adapter, resolved.num_blocks, resolved.name, resolved.width)
    except (ConfigError, ValueError) as error:
        raise BundleError(
            f"{INFO} does not fit its backbone ({error})", where=str(directory), remedy=_RETRAIN
        ) from error
    adapter_files = _adapter_files(directory, settings)
    if settings.method == "adapter":
        model_adapters.check_saved(directory / ADAPTER, settings.adapter, resolved.family, resolved.width)
    for names, expected in (([HEAD], count.head), (adapter_files, count.adapter)):
        found = sum(math.prod(shape) for name in names for shape in shapes(directory / name).values())
        if found != expected:
            raise BundleError(
                f"{names[0] if names else ADAPTER} holds {found:,} numbers, {INFO} describes {expected:,}",
                where=str(directory),
                remedy=_RETRAIN,
            )


def _adapter_files(directory: Path, settings: TaggerSettings) -> list[str]:
    if settings.method != "adapter":
        return []
    if not (directory / ADAPTER / "adapter_config.json").is_file():
        # The library would look for adapters of that name on the internet.
        raise BundleError(f"no {ADAPTER} in it", where=str(directory), remedy="fetch the bundle again")
    return [f"{ADAPTER}/{path.name}" for path in sorted((directory / ADAPTER).glob("*.safetensors"))]


def _read_adapter(backbone: Backbone, directory: Path, settings: TaggerSettings) -> None:
    """Put the trained adapters in; all files have the digests that `bundle.json` names."""
    for name in _adapter_files(directory, settings):
        tensors(directory / name)
    try:
        model_adapters.load(backbone, directory / ADAPTER)
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        first = str(error.args[0] if error.args else error).splitlines()[0]
        raise BundleError(
            f"the tensors in {ADAPTER} are not those of its adapters (first: {first})",
            where=str(directory),
            remedy=_RETRAIN,
        ) from error


def _read_trained(backbone: Backbone, directory: Path, cut: int) -> None:
    """Put the trained weights in the place of the pretrained ones, in the precision that they were trained in."""
    above = backbone.above(cut) if cut < backbone.num_blocks else {}
    saved = tensors(directory / TRAINED) if (directory / TRAINED).is_file() else {}
    shapes = {name: weight.shape for name, weight in saved.items()}
    if not above or shapes != {name: parameter.shape for name, parameter in above.items()}:
        raise BundleError(
            f"{TRAINED} does not hold the weights of the blocks from {cut} up",
            where=str(directory),
            remedy="fetch the bundle again",
        )
    for name, parameter in above.items():
        parameter.data = saved[name].float()
