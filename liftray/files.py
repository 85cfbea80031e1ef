"""Small file operations that leave either the old state or the new one, and digests.

Invariant: a reader never sees a half-written file or directory under its final name. Used by every stage that writes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file so that it appears whole under its name, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _give_usual_permissions(Path(name))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, indented, keys in the order given; NaN is refused since JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Fill a directory under a temporary name; it takes the place of `path` when the block ends well.

    Args:
        path: The final name; a directory that stands there is replaced.

    Yields:
        The directory to write into.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new."))
    try:
        yield fresh
        for inside in (fresh, *fresh.rglob("*")):
            _give_usual_permissions(inside)
        _put_in_place(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _give_usual_permissions(path: Path) -> None:
    """What the umask gives: temporary names, and safetensors' files, are for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _put_in_place(fresh: Path, path: Path) -> None:
    if not path.exists():
        os.replace(fresh, path)
        return
    # An empty directory, which the old one may replace: the system has no call that swaps two.
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        os.replace(path, old)
    except BaseException:
        old.rmdir()
        raise
    try:
        os.replace(fresh, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
