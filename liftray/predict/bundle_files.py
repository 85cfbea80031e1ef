"""The files of a bundle, checked before anything of them is used.

Invariant: `read_info` returns only if the directory holds exactly the files that `bundle.json` lists, each with its
digest, none a link, in formats that hold no code. Imports no torch until tensors are read. Flow: directory -> [this] ->
`bundle`.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from liftray import files, sealed
from liftray.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
INFO, HEAD, ADAPTER, TRAINED = "bundle.json", "head.safetensors", "adapter", "backbone.safetensors"
_FORMATS = (".json", ".safetensors")
_AGAIN = "fetch the bundle again"
# What readers of `bundle.json` rely on, where a key is there.
_KINDS: Mapping[str, type] = {
    "task": str, "alphabet": str, "ss3_map": str, "method": str, "max_length": int, "members": list,
    "backbone": dict, "adapter": dict, "head": dict, "calibration": dict, "parameters": dict, "data": dict,
    "metrics": dict, "leakage": dict, "files": dict,
}  # fmt: skip


def seal(directory: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Write `bundle.json` into a directory that holds all else: what is given, and the digests of all files."""
    names = sorted(path for path in directory.rglob("*") if path.is_file())
    digests = {path.relative_to(directory).as_posix(): files.sha256_file(path) for path in names}
    written = {**info, "files": digests}
    sealed.write_json(directory / INFO, written)
    return written


def read_info(directory: str | Path) -> dict[str, Any]:
    """Read `bundle.json` and check the files it names, without loading anything.

    Raises:
        BundleError: The directory is no bundle, of another format, or its files have changed.
    """
    directory = Path(directory)
    info = read_description(directory)
    if type(version := info.get("format_version")) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"not a bundle of format {FORMAT_VERSION}",
            where=str(directory),
            remedy="train or export it again",
        )
    _check_files(directory, info.get("files"))
    return info


def read_description(directory: Path) -> dict[str, Any]:
    """Read `bundle.json` alone; the other files are not compared with it.

    Raises:
        BundleError: It is missing or damaged, or a value in it is of the wrong kind.
    """
    try:
        info = sealed.read_json(directory / INFO, BundleError, remedy=_AGAIN)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"no {INFO}", where=str(directory), remedy="give the directory of a bundle"
        ) from error
    for key, kind in _KINDS.items():
        if info.get(key) is not None and type(info[key]) is not kind:
            raise BundleError(
                f"{key} in {INFO} is {info[key]!r:.40}",
                where=str(directory),
                remedy="train or export it again",
            )
    if not all(isinstance(named, dict) for named in (info.get("data") or {}).values()):
        raise BundleError(
            f"data in {INFO} names no data sets", where=str(directory), remedy="train or export it again"
        )
    return info


def tensors(path: Path) -> dict[str, "Tensor"]:
    """Read a safetensors file.

    Raises:
        BundleError: It is missing or damaged, or a tensor is not of finite real numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    for name, tensor in found.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise BundleError(
                f"tensor {name} does not hold finite real numbers",
                where=str(path),
                remedy="train or export it again",
            )
    return found


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a safetensors file, from its header alone.

    Raises:
        BundleError: It is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BundleError:
    return BundleError(f"unreadable tensors ({error})", where=str(path), remedy=_AGAIN)


def _check_files(directory: Path, listed: Any) -> None:
    """Refuse a bundle whose files are not exactly the listed ones, each with its digest, in formats without code."""
    names = set(listed) if isinstance(listed, dict) else set()
    if HEAD not in names and f"member-1/{INFO}" not in names:
        raise BundleError(f"{INFO} names no {HEAD}", where=str(directory), remedy=_AGAIN)
    present = set()
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(
                f"{name} is a link or a special file", where=str(directory), remedy="copy the file itself"
            )
        if not path.is_dir() and name != INFO:
            present.add(name)
    for name in sorted(present | names):
        # `present` holds only files of the directory, so a name that leads out of it is never present.
        whole = name in present and PurePosixPath(name).suffix in _FORMATS
        if not whole or files.sha256_file(directory / name) != listed.get(name):
            raise BundleError(
                f"{name} is missing, is not of the bundle, or has changed since it was written",
                where=str(directory),
                remedy=_AGAIN,
            )
