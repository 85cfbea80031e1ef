"""Keeping the cache within its size: the least recently used shards of all keys are removed first.

Invariant: nothing that a living process reads or writes is removed, and a shard is removed whole, its ledger record
first. Needs no key: the names of a shard's files identify it. Flow: fill -> [this].
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from liftray import files
from liftray.cache import lease, shard
from liftray.errors import CacheError

_SHARD_FILE = re.compile(r"([0-9a-f]{32})(\.rows|\.ledger)")
_LEFT_OVER = re.compile(r"\.(key\.json|[0-9a-f]{32}\.ledger)\.[0-9a-f]+")
_STORE = "[0-9a-f]*/k[0-9]*"


@dataclass(frozen=True)
class _Shard:
    used_ns: int
    name: str
    directory: Path
    size: int


def evict(root: str | Path, limit_bytes: int) -> int:
    """Remove whole shards, the least recently used first, until all shards of a cache fit.

    Args:
        root: The cache's root, with the stores of all keys.
        limit_bytes: Largest size of all shards together; shards in use remain, even beyond it.

    Returns:
        Bytes freed.

    Raises:
        CacheError: The cache cannot be read or written.
    """
    try:
        freed = sum(sweep(directory) for directory in _stores(root))
        found = sorted(
            (each for directory in _stores(root) for each in _shards(directory)),
            key=lambda each: (each.used_ns, each.name),
        )
        above = sum(each.size for each in found) - limit_bytes
        for each in found:
            if above <= 0:
                break
            with lease.names(each.directory):
                gone = _remove_unused(each.directory, each.name)
            above -= gone
            freed += gone
    except OSError as error:
        raise CacheError(
            f"cannot evict from the cache ({error.strerror or error})",
            where=str(root),
            remedy="make cache.dir writable, or set it to another directory",
        ) from error
    return freed


def sweep(directory: Path, damaged: Iterable[str] = ()) -> int:
    """Remove the files that killed writers left in one store's directory, and damaged shards.

    Returns:
        Bytes freed.

    Raises:
        OSError: The directory cannot be read or written.
    """
    freed = 0
    with lease.names(directory):
        kinds: dict[str, set[str]] = {}
        for entry in list(os.scandir(directory)):
            if _LEFT_OVER.fullmatch(
                entry.name
            ):  # made under the lock that this process holds: its writer is dead
                freed += entry.stat().st_size
                files.DISK.remove(Path(entry.path))
            elif match := _SHARD_FILE.fullmatch(entry.name):
                kinds.setdefault(match[1], set()).add(match[2])
        halves = {name for name, found in kinds.items() if len(found) < 2}
        for name in sorted(halves.union(damaged).intersection(kinds)):
            freed += _remove_unused(directory, name)
    return freed


def is_shard_file(name: str, kind: str) -> bool:
    """Whether a name is that of a shard's file of a kind, `shard.ROWS` or `shard.LEDGER`."""
    match = _SHARD_FILE.fullmatch(name)
    return match is not None and match[2] == kind


def _stores(root: str | Path) -> list[Path]:
    return [directory for directory in Path(root).glob(_STORE) if directory.is_dir()]


def _shards(directory: Path) -> list[_Shard]:
    """All shards with a file, also those being written: they count towards the limit, and are never removed."""
    sizes: dict[str, int] = {}
    used: dict[str, int] = {}
    for entry in list(os.scandir(directory)):
        if match := _SHARD_FILE.fullmatch(entry.name):
            try:
                state = entry.stat()
            except FileNotFoundError:  # removed since the directory was read
                continue
            sizes[match[1]] = sizes.get(match[1], 0) + state.st_size
            if match[2] == shard.ROWS:
                used[match[1]] = state.st_mtime_ns
    return [_Shard(used.get(name, 0), name, directory, size) for name, size in sizes.items()]


def _remove_unused(directory: Path, name: str) -> int:
    """Remove a shard, under the directory's lock, unless a living process uses it; returns the bytes freed."""
    path = shard.rows_path(directory, name)
    if not path.exists():
        return shard.remove(directory, name)
    file = lease.claim(path)
    if file is None:
        return 0
    try:
        return shard.remove(directory, name)
    finally:
        os.close(file)
