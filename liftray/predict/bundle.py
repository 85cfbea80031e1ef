"""The bundle: a trained model as a directory of JSON and safetensors, without the backbone.

Invariant: nothing is loaded that does not match: the backbone's digest is the recorded one, and every tensor file has
the sha256 that `bundle.json` names. No pickle. Flow: best checkpoint -> [this] -> registry -> predictor.

    bundle.json           what it is, what it was trained on, how it scored
    adapter/              the `adapters` library's own saved form (method `adapter` only)
    backbone.safetensors  the backbone's trained weights in float32 (method `full` only)
    head.safetensors      the head

An ensemble's bundle holds whole bundles, member-1, member-2 ..., and a `bundle.json` that names them in `members`; see
`merge`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from liftray import __version__, files
from liftray.adapt import model_adapters
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.model import Backbone
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.config import BackboneSettings, Settings
from liftray.errors import BundleError
from liftray.predict.ensemble import Ensemble, share_weights
from liftray.predict.temperature import temperature_of

FORMAT_VERSION = 1
_INFO, _HEAD, _ADAPTER, _TRAINED = "bundle.json", "head.safetensors", "adapter", "backbone.safetensors"
_FORMATS = (".json", ".safetensors")


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
    tagger: Tagger, directory: Path, sources: Sequence[str], details: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a bundle.

    Args:
        tagger: The trained model.
        directory: The new bundle; an existing bundle is replaced as a whole.
        sources: Backbone sources, to find it again.
        details: Further entries of `bundle.json`: data digests, metrics, run id and the like.

    Returns:
        What was written to `bundle.json`.
    """
    settings, resolved = tagger.settings, tagger.backbone.resolved
    with files.new_directory(directory) as fresh:
        head = {name: tensor.contiguous() for name, tensor in tagger.head.state_dict().items()}
        save_file(head, fresh / _HEAD)
        if settings.method == "adapter":
            model_adapters.save(tagger.backbone, fresh / _ADAPTER)
        elif settings.method == "full":
            above = tagger.backbone.above(tagger.cut.entry)
            save_file({name: weight.contiguous() for name, weight in above.items()}, fresh / _TRAINED)
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


def seal(directory: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Write `bundle.json` into a directory that holds all else: what is given, and the digests of all files."""
    names = sorted(path for path in directory.rglob("*") if path.is_file())
    digests = {path.relative_to(directory).as_posix(): files.sha256_file(path) for path in names}
    sealed = {**info, "files": digests}
    files.write_json(directory / _INFO, sealed)
    return sealed


def read_info(directory: str | Path) -> dict[str, Any]:
    """Read `bundle.json` and check the files it names, without loading anything.

    Raises:
        BundleError: The directory is no bundle, of another format, or its files have changed.
    """
    directory = Path(directory)
    try:
        info = json.loads((directory / _INFO).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(
            f"no {_INFO}", where=str(directory), remedy="give the directory of a bundle"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"unreadable {_INFO} ({error})", where=str(directory)) from error
    if not isinstance(info, dict) or info.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"not a bundle of format {FORMAT_VERSION}",
            where=str(directory),
            remedy="train or export it again",
        )
    _check_files(directory, info.get("files"))
    return info


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
    backbone = backbones.load(resolved, dtype=recorded["dtype"])
    if settings.method == "adapter":
        _read_adapter(backbone, directory)
    elif settings.method == "full":
        _read_trained(backbone, directory, settings.adapter.skip_layers)
    try:
        tagger = Tagger(backbone, settings)
        tagger.head.load_state_dict(load_file(directory / _HEAD))
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"{_HEAD} does not hold the head that {_INFO} describes",
            where=str(directory),
            remedy="train or export it again",
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
            f"{_INFO} does not describe a model ({type(error).__name__}: {reason})",
            where=str(directory),
            remedy="train or export it again",
        ) from error
    return TaggerSettings.of(checked), recorded


def trained_weights(directory: str | Path) -> dict[str, Tensor]:
    """The trained weights of a bundle as `Tagger.trained` names them, in float32 on the CPU; the backbone is not read.

    Raises:
        BundleError: The bundle is damaged, or an ensemble.
    """
    directory = Path(directory)
    method = described(directory, read_info(directory))[0].method
    weights = {f"head.{name}": weight for name, weight in load_file(directory / _HEAD).items()}
    if method == "adapter":
        for path in sorted((directory / _ADAPTER).glob("*.safetensors")):
            weights |= {f"backbone.hf.{name}": weight for name, weight in load_file(path).items()}
    elif method == "full":
        weights |= {f"backbone.{name}": weight for name, weight in load_file(directory / _TRAINED).items()}
    return weights


def _load_members(directory: Path, info: Mapping[str, Any], sources: Sequence[str] | None) -> Ensemble:
    """Load each member, a whole bundle; all its files have the digests that the ensemble's `bundle.json` names."""
    names = info["members"]
    if not isinstance(names, list) or not names or names != [f"member-{n + 1}" for n in range(len(names))]:
        raise BundleError(f"{_INFO} names no members", where=str(directory), remedy="merge them again")
    members: list[Tagger] = []
    temperatures = []
    for name in names:
        loaded = load(directory / name, sources=sources)
        member, described_as = loaded.tagger, (info.get("task"), info.get("ss3_map"))
        if not isinstance(member, Tagger) or (member.alphabet, member.ss3_map) != described_as:
            raise BundleError(
                f"{name} is not a model as {_INFO} describes it",
                where=str(directory),
                remedy="merge them again",
            )
        if members:
            share_weights(members[0].backbone, member.backbone)
        members.append(member)
        temperatures.append(temperature_of(loaded.info))
    return Ensemble(members, temperatures)


def _read_adapter(backbone: Backbone, directory: Path) -> None:
    """Put the trained adapters in; all files have the digests that `bundle.json` names."""
    if not (directory / _ADAPTER / "adapter_config.json").is_file():
        # The library would look for adapters of that name on the internet.
        raise BundleError(f"no {_ADAPTER} in it", where=str(directory), remedy="fetch the bundle again")
    try:
        model_adapters.load(backbone, directory / _ADAPTER)
    except KeyError as error:
        raise BundleError(
            f"the tensors in {_ADAPTER} are not those of its adapters (first: {error.args[0]})",
            where=str(directory),
            remedy="train or export it again",
        ) from error


def _read_trained(backbone: Backbone, directory: Path, cut: int) -> None:
    """Put the trained weights in the place of the pretrained ones, in the precision that they were trained in."""
    above = backbone.above(cut) if cut < backbone.num_blocks else {}
    saved = load_file(directory / _TRAINED) if (directory / _TRAINED).is_file() else {}
    shapes = {name: weight.shape for name, weight in saved.items()}
    if not above or shapes != {name: parameter.shape for name, parameter in above.items()}:
        raise BundleError(
            f"{_TRAINED} does not hold the weights of the blocks from {cut} up",
            where=str(directory),
            remedy="fetch the bundle again",
        )
    for name, parameter in above.items():
        parameter.data = saved[name].float()


def _check_files(directory: Path, listed: Any) -> None:
    """Refuse a bundle whose files are not exactly the listed ones, each with its digest, in formats without code."""
    root = directory.resolve()
    present = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()} - {_INFO}
    names = set(listed) if isinstance(listed, dict) else set()
    if _HEAD not in names and f"member-1/{_INFO}" not in names:
        raise BundleError(f"{_INFO} names no {_HEAD}", where=str(directory), remedy="fetch the bundle again")
    for name in sorted(present | names):
        path = (root / name).resolve()
        # `present` holds only files of the directory, so a name that leads out of it is never present.
        whole = name in present and path.is_relative_to(root) and path.suffix in _FORMATS and path.is_file()
        if not whole or files.sha256_file(path) != listed.get(name):
            raise BundleError(
                f"{name} is missing, is not of the bundle, or has changed since it was written",
                where=str(directory),
                remedy="fetch the bundle again",
            )
