"""Reading a backbone's tensors from safetensors or `pytorch_model.bin`, and naming them as its encoder does.

Invariant: nothing in a weight file is executed (safetensors, or torch's weights-only reader). The returned tensors are
exactly the encoder's: none is missing, none is unknown, and every shape is that of the config. Called by `model`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from liftray.backbone.families import Family
from liftray.errors import BackboneError


def read_state(
    files: Sequence[Path],
    family: Family,
    shapes: Mapping[str, torch.Size],
    optional: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """Read the encoder's tensors, memory-mapped where the format allows.

    Args:
        files: The weight files.
        family: The backbone's family.
        shapes: Names and shapes of the encoder's tensors.
        optional: Names among them that a file may leave out.

    Returns:
        A tensor for each name of `shapes`, in the file's dtype; optional ones where the files have them.

    Raises:
        BackboneError: A file is damaged or not loadable without running code; or its tensors are not the
            encoder's.
    """
    state: dict[str, torch.Tensor] = {}
    unexplained: list[str] = []
    for path in files:
        for raw_name, read in _tensors(path):
            name = _encoder_name(raw_name, family)
            if name in shapes:
                state[name] = read()
            elif not _is_explained(name, family):
                unexplained.append(raw_name)
    # T5 ties the two names of its token embedding; a file may hold either.
    for name, other in (
        ("shared.weight", "encoder.embed_tokens.weight"),
        ("encoder.embed_tokens.weight", "shared.weight"),
    ):
        if name in shapes and name not in state and other in state:
            state[name] = state[other]
    where = str(files[0].parent)
    _check_names(state, unexplained, [name for name in shapes if name not in optional], where)
    _check_shapes(state, shapes, where)
    return state


def _tensors(path: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    if path.suffix == ".safetensors":
        yield from _safetensors(path)
    else:
        yield from _weights_only(path)


def _safetensors(path: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, partial(file.get_tensor, name)
    except (SafetensorError, OSError) as error:
        raise BackboneError(
            f"damaged safetensors ({error})", where=str(path), remedy="download it again"
        ) from error


def _weights_only(path: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # written by torch before 1.6
    except Exception as error:  # a damaged pickle makes torch's reader raise errors of any class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackboneError(
            f"the file is damaged or holds more than tensors ({reason})",
            where=str(path),
            remedy="use safetensors; loading it as it is could run code",
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise BackboneError(
            "the file is no plain map of names to tensors",
            where=str(path),
            remedy="save the model's state_dict alone",
        )
    for name, tensor in content.items():
        yield str(name), tensor.detach


def _encoder_name(raw_name: str, family: Family) -> str:
    name = raw_name.removeprefix(family.prefix)
    if family.name == "bert":  # names from TensorFlow checkpoints
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return name


def _is_explained(name: str, family: Family) -> bool:
    # A rotary model has no use for the position embeddings that some of its checkpoints still carry.
    if family.name == "esm" and name == "embeddings.position_embeddings.weight":
        return True
    return name.startswith(family.heads)


def _check_names(
    state: Mapping[str, torch.Tensor], unexplained: Sequence[str], needed: Sequence[str], where: str
) -> None:
    missing = sorted(set(needed) - set(state))
    if missing:
        raise BackboneError(
            f"{len(missing)} of the encoder's {len(needed)} tensors are missing ({', '.join(missing[:3])})",
            where=where,
            remedy="give the config.json that belongs to the weights, and all weight files",
        )
    if unexplained:
        raise BackboneError(
            f"{len(unexplained)} tensors belong to no known part ({', '.join(sorted(unexplained)[:3])})",
            where=where,
            remedy="use a plain encoder checkpoint",
        )


def _check_shapes(state: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size], where: str) -> None:
    for name, tensor in state.items():
        if tensor.shape != shapes[name] or not tensor.is_floating_point():
            raise BackboneError(
                f"tensor {name} is {tensor.dtype} {tuple(tensor.shape)}, not {tuple(shapes[name])}",
                where=where,
                remedy="give the config.json that belongs to the weights",
            )
