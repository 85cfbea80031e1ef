"""The files of a Parquet data set, here or in an object store: listed, and compared with what ingest wrote.

Invariant: a file is used only if it is a regular one and its bytes have the sha256 that `dataset.json` lists. A data
set of version 0.1 lists none. Flow: directory or address -> [this] -> dataset.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from liftray.errors import DataError

DATASET_FILE = "dataset.json"
PARQUET_KEY = "parquet_sha256"
INGEST_AGAIN = "make it again with 'liftray ingest'"

_CHUNK = 1 << 20
# Two writes within one tick of a file system's clock leave the same time, so a file this young is read again.
_SETTLED_NS = 2_000_000_000
# Files whose digest this process has compared: address, size, time of change, digest.
_compared: set[tuple[str, int, int, str]] = set()


def filesystem_of(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a directory or an address, and the path in it.

    Raises:
        DataError: No file system has such an address.
    """
    try:
        if "://" in path:
            filesystem, root = pafs.FileSystem.from_uri(path)
            return filesystem, root.rstrip("/")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"unusable address ({error})", where=path, remedy="check the URI") from error
    return pafs.LocalFileSystem(), path.rstrip("/") or "/"


def list_files(filesystem: pafs.FileSystem, root: str, where: str) -> list[str]:
    """Names of a data set's Parquet files, sorted.

    Raises:
        DataError: There are none, or one is no regular file.
    """
    entries = filesystem.get_file_info(pafs.FileSelector(root))
    parts = [entry for entry in entries if entry.base_name.endswith(".parquet")]
    if not parts:
        raise DataError("no Parquet files next to dataset.json", where=where, remedy=INGEST_AGAIN)
    for entry in parts:
        _check_regular(entry, where)
    return sorted(entry.base_name for entry in parts)


def _check_regular(found: pafs.FileInfo, where: str) -> None:
    """Refuse a directory, and a pipe or a device, on which an open would wait."""
    if found.type not in (pafs.FileType.File, pafs.FileType.NotFound):
        raise DataError(f"{found.base_name} is no regular file", where=where, remedy=INGEST_AGAIN)


def written_files(info: Mapping[str, Any], present: list[str], where: str) -> dict[str, str]:
    """Name -> sha256 of each Parquet file, as ingest wrote them; empty for a data set of version 0.1."""
    written = info.get(PARQUET_KEY, {})
    if not isinstance(written, dict) or not all(isinstance(one, str) for one in written.values()):
        raise DataError(f"{DATASET_FILE} has no valid {PARQUET_KEY!r}", where=where, remedy=INGEST_AGAIN)
    if written and (other := sorted(written.keys() ^ set(present))):
        what = "is missing" if other[0] in written else "is not of the data set"
        raise DataError(f"{other[0]} {what}", where=where, remedy=INGEST_AGAIN)
    return written


def compare(filesystem: pafs.FileSystem, name: str, where: str, digest: str | None) -> None:
    """Refuse a Parquet file whose bytes are not those that ingest wrote; read again only where it may have changed."""
    if digest is None:
        return
    try:
        found = filesystem.get_file_info(name)
        stamp = (f"{where}\0{name}", found.size, found.mtime_ns, digest)
        if stamp in _compared:
            return
        actual = hashlib.sha256()
        with filesystem.open_input_stream(name, compression=None) as file:
            while piece := file.read(_CHUNK):
                actual.update(piece)
    except OSError as error:
        raise DataError(f"unreadable Parquet ({error})", where=name, remedy=INGEST_AGAIN) from error
    if actual.hexdigest() != digest:
        raise DataError(
            "damaged Parquet: it has changed since it was written", where=name, remedy=INGEST_AGAIN
        )
    if found.mtime_ns is not None and found.mtime_ns < time.time_ns() - _SETTLED_NS:
        _compared.add(stamp)
