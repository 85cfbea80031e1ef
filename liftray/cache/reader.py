"""Reading entries of a store as views of memory-mapped shards.

Invariant: this reader compares an entry's sha256 before it returns a byte. No shard is deleted while a reader, or a
view that it returned, is alive. NumPy only. Flow: store -> [this] -> codec -> feed.

A reader is pickled as (root, key, ids) and opens itself on its first read in the other process. A fork keeps the open
shards, their leases included.
"""

import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from liftray.cache import lease, shard
from liftray.cache.index import Index, as_array, as_bytes
from liftray.cache.key import PrefixKey
from liftray.cache.shard import Bytes
from liftray.errors import CacheError

REMEDY = "run `liftray cache` again: it computes missing and damaged entries"


class ReadableStore(Protocol):
    """The part of a store that a reader uses; goes to other processes by pickling."""

    @property
    def directory(self) -> Path:
        """Directory of the shards."""

    @property
    def key(self) -> PrefixKey:
        """The store's key."""

    def index(self) -> Index:
        """All entries that are in the store now."""

    def strike(self, name: str, ids: npt.NDArray[np.bytes_]) -> None:
        """Remove damaged entries of a shard from the store."""


class Reader:
    """Reads some of a store's entries; made by `Store.reader`.

    Args:
        store: The store; it need not be opened.
        ids: The entries that will be read.
    """

    def __init__(self, store: ReadableStore, ids: Sequence[bytes]) -> None:
        self._store = store
        self._ids = np.unique(as_array(ids))
        self._entries: Index | None = None
        self._maps: dict[int, Bytes] = {}
        self._checked = np.zeros(len(self._ids), dtype=bool)

    def __reduce__(self) -> tuple[object, ...]:
        """What another process needs, without the open files."""
        return (Reader, (self._store, as_bytes(self._ids)))

    def __enter__(self) -> "Reader":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> "Reader":
        """Take leases on all shards needed and map them, unless that is done.

        Raises:
            CacheError: An entry is not in the store, or a file cannot be opened.
        """
        self._opened()
        return self

    def _opened(self) -> Index:
        while self._entries is None:
            index = self._store.index()
            at = index.find(self._ids)
            if (at < 0).any():
                raise CacheError(
                    f"{int((at < 0).sum())} of {len(at)} sequences are not in the cache",
                    where=str(self._store.directory),
                    remedy=REMEDY,
                )
            entries = index.take(at)
            if self._map(entries):
                self._entries = entries
        return self._entries

    def close(self) -> None:
        """Release the leases; a shard's lease lives on with a view of it that is still held."""
        self._entries = None
        self._maps = {}
        self._checked[:] = False

    def read(self, entry: bytes) -> Bytes:
        """Read one entry.

        Args:
            entry: Its id, one of the reader's.

        Returns:
            rows_LR, (L tokens, R bytes) uint8: a read-only view of the file.

        Raises:
            CacheError: The entry's bytes are not those that were written (it is struck from the store), or the
                reader opens itself now and an entry is not in the store.
            KeyError: The reader was not made for this entry.
        """
        entries = self._opened()
        at = int(entries.find(as_array([entry]))[0])
        if at < 0:
            raise KeyError(entry.hex())
        width = self._store.key.row_bytes
        start, length = int(entries.starts[at]) * width, int(entries.lengths[at])
        rows = self._maps[int(entries.shards[at])][start : start + length * width]
        if not self._checked[at]:
            if hashlib.sha256(rows.data).digest() != entries.digests[at].tobytes():
                raise self._damaged(entries, at)
            self._checked[at] = True
        return rows.reshape(length, width)

    def _map(self, entries: Index) -> bool:
        """Map the shards of some entries; False when one has been removed meanwhile."""
        maps = {}
        try:
            for number in np.unique(entries.shards).tolist():
                path = shard.rows_path(self._store.directory, entries.names[number])
                file = lease.share(path)
                if file is None:
                    return False
                try:
                    shard.touch(file)
                    # The map has a descriptor of its own of the same open file, so the lease lives as long as it.
                    content = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
                finally:
                    os.close(file)
                maps[number] = np.frombuffer(content, dtype=np.uint8)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise CacheError(
                f"cannot open the cache ({error})", where=str(self._store.directory), remedy=REMEDY
            ) from error
        self._maps = maps
        return True

    def _damaged(self, entries: Index, at: int) -> CacheError:
        name = entries.names[int(entries.shards[at])]
        self._store.strike(name, entries.ids[at : at + 1])
        return CacheError(
            f"damaged cache entry {entries.ids[at : at + 1].tobytes().hex()}",
            where=str(shard.rows_path(self._store.directory, name)),
            remedy=REMEDY,
        )
