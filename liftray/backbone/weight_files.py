"""Which files of a directory are a backbone's weights, and the digest of their bytes.

Invariant: every weight file is directly in the given directory; an index cannot point elsewhere.
safetensors are preferred to `pytorch_model.bin`. Used by `sources` and `hub`; imports no torch.
"""

import hashlib
import re
import time
from collections.abc import Collection
from pathlib import Path

from liftray.backbone.vocabulary import VOCABULARY_FILES
from liftray.documents import read_json
from liftray.errors import BackboneError
from liftray.files import sha256_file

CONFIG_FILE = "config.json"
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SMALL_FILES = (CONFIG_FILE, *VOCABULARY_FILES, *_INDEXES)
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(safetensors|bin)")
_MAX_INDEX_BYTES = 64 << 20
_SETTLED_NS = 2_000_000_000
_digests: dict[tuple[str, int, int], str] = {}


class Unreachable(Exception):  # noqa: N818 - not an error: the next source is tried
    """A source that cannot be reached; its text is the reason."""


def weight_names(directory: Path, names: Collection[str]) -> tuple[str, ...]:
    """Choose a checkpoint's weight files.

    Args:
        directory: Where the shard index is, if there is one.
        names: The files that the checkpoint has, here or on the hub.

    Returns:
        File names, sorted.

    Raises:
        Unreachable: There are no weights, or a shard is missing.
        BackboneError: The shard index is damaged or points outside the directory.
    """
    for whole, index in zip(_WHOLE, _INDEXES, strict=True):
        if whole in names:
            return (whole,)
        if index in names:
            shards = _shards(directory / index)
            missing = [shard for shard in shards if shard not in names]
            if missing:
                raise Unreachable(f"{len(missing)} of {len(shards)} shards are missing ({missing[0]})")
            return shards
    raise Unreachable(f"no {' or '.join(_WHOLE)} in it")


def weight_files(directory: Path) -> tuple[Path, ...]:
    """Find the weight files of a checkpoint on disk; errors as `weight_names`."""
    names = {path.name for path in directory.iterdir() if path.is_file()}
    if CONFIG_FILE not in names:
        raise Unreachable(f"no {CONFIG_FILE} in it")
    return tuple(directory / name for name in weight_names(directory, names))


def weights_sha256(files: Collection[Path]) -> str:
    """Digest weight files: of one file its own sha256, of shards that of their names and digests in order."""
    if len(files) == 1:
        return _file_digest(next(iter(files)))
    lines = [f"{_file_digest(path)}  {path.name}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    # A file that kept its size and time within one process is not read again: weights run to tens of
    # gigabytes.
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key in _digests:
        return _digests[key]
    digest = sha256_file(path)
    # Two writes within one tick of a file system's clock leave the same time: so young a file is read again.
    if status.st_mtime_ns < time.time_ns() - _SETTLED_NS:
        _digests[key] = digest
    return digest


def _shards(index: Path) -> tuple[str, ...]:
    try:
        content = read_json(
            index, max_bytes=_MAX_INDEX_BYTES, error=BackboneError, remedy="download it again"
        )
        listed = content["weight_map"].values()
        names = {str(name) for name in listed}
    except (KeyError, TypeError, AttributeError) as error:
        raise BackboneError("unreadable shard index", where=str(index), remedy="download it again") from error
    for name in names:
        if not _SHARD.fullmatch(name):
            raise BackboneError(
                f"the shard index names {name!r}, which is no plain weight file name",
                where=str(index),
                remedy="do not use this checkpoint unless you can explain that entry",
            )
    if not names:
        raise BackboneError("empty shard index", where=str(index), remedy="download it again")
    return tuple(sorted(names))
