"""The store of one key: hidden states at one block, one entry of its own length for each window.

Invariant: it returns what was added under the same key, byte for byte; all else is missing or an error. Many processes
read and write it at once. NumPy only. Flow: key, fill -> [this] -> reader -> codec -> feed.

ROOT/LINEAGE/kBLOCK holds `key.json` (the whole key), a `.lock`, and shards (see shard). There is no list of shards: a
shard's ledger record commits it, so that writers share nothing and a damaged record costs one shard.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from liftray import files
from liftray.cache import evict, lease, shard
from liftray.cache.index import Index, as_array, merge
from liftray.cache.key import PrefixKey, digest_in
from liftray.cache.reader import Reader
from liftray.cache.shard import DamagedShardError, ShardRecord
from liftray.cache.writer import SHARD_BYTES, Writer
from liftray.errors import CacheError

_KEY = "key.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreSize:
    """The size of a store.

    Attributes:
        shards: Committed shards.
        entries: Sequence windows.
        bytes: Bytes of the committed shards' files.
    """

    shards: int
    entries: int
    bytes: int


class Store:
    """One key's entries; `Store.open` makes and checks the directory.

    Args:
        root: The cache's root.
        key: All that the entries' bytes depend on.
    """

    def __init__(self, root: str | Path, key: PrefixKey) -> None:
        self.root, self.key = Path(root), key
        self.directory = key.directory(root)
        self._digest = key.digest()
        self._records: dict[str, tuple[tuple[int, ...], ShardRecord | None]] = {}
        self._damaged: set[str] = set()
        self._merged: tuple[tuple[ShardRecord, ...], Index] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Root and key are all that another process needs."""
        return (Store, (self.root, self.key))

    @classmethod
    def open(cls, root: str | Path, key: PrefixKey) -> "Store":
        """Open a key's store, or make it.

        A damaged `key.json` is written again: every shard holds the key's digest too.

        Raises:
            CacheError: The directory holds another key's entries, or cannot be read or made.
        """
        store = cls(root, key)
        with store._usable():
            files.make_directories(store.directory)
            path = store.directory / _KEY
            if not path.exists() or not store._is_ours(path.read_bytes()):
                with lease.names(store.directory):
                    files.write_bytes(path, key.document())
        return store

    def missing(self, ids: Sequence[bytes]) -> list[int]:
        """Positions of the ids that no whole, committed shard holds.

        Args:
            ids: Entry ids of 16 bytes.

        Raises:
            CacheError: The directory cannot be read.
        """
        found = self.index().find(as_array(ids))
        return [int(at) for at in np.flatnonzero(found < 0)]

    def writer(self, max_shard_bytes: int = SHARD_BYTES) -> Writer:
        """Make a writer of new shards, for a `with` block; removes first the files that killed writers left.

        Raises:
            CacheError: The directory cannot be read or written.
        """
        self.sweep()
        return Writer(self.directory, self.key, max_shard_bytes)

    def reader(self, ids: Sequence[bytes]) -> Reader:
        """Make a reader of some entries, with leases on their shards until it is closed.

        Raises:
            CacheError: An entry is missing, or a file cannot be opened.
        """
        return Reader(self, ids).open()

    def verify(self, ids: Sequence[bytes]) -> list[int]:
        """Read all bytes of some entries and strike the damaged ones.

        Args:
            ids: Entry ids; missing ones are ignored.

        Returns:
            Positions of the ids that were damaged and are missing now; a sound copy in another shard remains.

        Raises:
            CacheError: The directory cannot be read or written.
        """
        wanted = as_array(ids)
        before = self.index().find(wanted) >= 0
        left = np.unique(wanted)
        while len(left):  # again for those that another shard also holds
            index = self.index()
            at = index.find(left)
            left = self._strike_damaged(index.take(at[at >= 0]))
        gone = before & (self.index().find(wanted) < 0)
        return [int(at) for at in np.flatnonzero(gone)]

    def size(self) -> StoreSize:
        """Count what is committed.

        Raises:
            CacheError: The directory cannot be read.
        """
        index = self.index()
        paths = [make(self.directory, name) for name in index.names for make in _FILES]
        size = 0
        for path in paths:
            with suppress(FileNotFoundError):  # evicted meanwhile
                size += path.stat().st_size
        return StoreSize(shards=len(index.names), entries=len(index.ids), bytes=size)

    def index(self) -> Index:
        """The place of each entry, as the directory is now; only changed ledger records are read again.

        Raises:
            CacheError: The directory cannot be read.
        """
        with self._usable(), os.scandir(self.directory) as found:
            names = sorted(
                Path(each.name).stem for each in found if evict.is_shard_file(each.name, shard.LEDGER)
            )
        self._records = {name: self._refreshed(name) for name in names}
        records = tuple(record for _, record in self._records.values() if record is not None)
        if self._merged is None or not _same(self._merged[0], records):
            self._merged = records, merge(records)
        return self._merged[1]

    def strike(self, name: str, ids: npt.NDArray[np.bytes_]) -> None:
        """Take entries out of a shard's ledger record, so that they are missing from now on.

        Where the store is not writable, the next reader finds the damage again.
        """
        _log.warning("struck %d damaged entries of %s", len(ids), shard.rows_path(self.directory, name))
        try:
            with lease.names(self.directory):
                record = shard.load(self.directory, name, self._digest, self.key.row_bytes).without(ids)
                if len(record.ids):
                    shard.commit(self.directory, record, self._digest)
                else:  # readers may still use the rows: a later sweep removes them
                    files.DISK.remove(shard.ledger_path(self.directory, name))
        except (OSError, DamagedShardError) as error:
            _log.warning("could not strike them: %s", error)

    def sweep(self) -> None:
        """Remove the files that killed writers left, and damaged shards, except those that a living process uses.

        Raises:
            CacheError: The directory cannot be read or written.
        """
        self.index()
        with self._usable():
            evict.sweep(self.directory, sorted(self._damaged))

    def _refreshed(self, name: str) -> tuple[tuple[int, ...], ShardRecord | None]:
        stamp = self._stamp(name)
        known = self._records.get(name)
        if known is not None and known[0] == stamp:
            return known
        try:
            return stamp, shard.load(self.directory, name, self._digest, self.key.row_bytes)
        except FileNotFoundError:
            return stamp, None  # evicted since the directory was read
        except DamagedShardError as error:
            self._damaged.add(name)
            why: Exception = error
        except OSError as error:
            why = error
        _log.warning(
            "ignored a cache shard, whose entries are computed again: %s in %s",
            why,
            self.directory / name,
        )
        return stamp, None

    def _stamp(self, name: str) -> tuple[int, ...]:
        """A value that changes whenever a shard's files may have changed, but not with the time of last use."""
        stamp: list[int] = []
        for make in _FILES:
            try:
                state = make(self.directory, name).stat()
                stamp += [state.st_ino, state.st_size]
            except OSError:
                stamp += [0, -1]
        return tuple(stamp)

    def _strike_damaged(self, entries: Index) -> npt.NDArray[np.bytes_]:
        """Check some entries and strike the damaged ones; returns their ids."""
        damaged = [np.empty(0, entries.ids.dtype)]
        for number in np.unique(entries.shards).tolist():
            name = entries.names[number]
            inside = entries.take(np.flatnonzero(entries.shards == number))
            file = lease.share(shard.rows_path(self.directory, name))
            if file is None:
                continue  # evicted: missing
            try:
                whole = _are_whole(file, inside, self.key.row_bytes)
            finally:
                os.close(file)
            if not whole.all():
                damaged.append(inside.ids[~whole])
                self.strike(name, damaged[-1])
        return np.concatenate(damaged)

    def _is_ours(self, document: bytes) -> bool:
        """Whether a `key.json` is this key's; False when it is damaged."""
        if document == self.key.document():
            return True
        if digest_in(document) not in (None, self._digest):
            raise CacheError(
                "the cache was made under another key (backbone, block, number type or versions)",
                where=str(self.directory / _KEY),
                remedy="remove that directory, or set cache.dir to another one",
            )
        _log.warning("damaged %s is written again", self.directory / _KEY)
        return False

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(
                f"cannot use the cache ({error.strerror or error})",
                where=str(self.directory),
                remedy="set cache.dir to a directory that can be written, on a disk with free space",
            ) from error


_FILES: tuple[Callable[[Path, str], Path], ...] = (shard.rows_path, shard.ledger_path)


def lower_blocks(root: str | Path, key: PrefixKey) -> list[int]:
    """Blocks below a key's own at which its lineage has a store, the highest first.

    A fill at a higher block may continue from the entries of such a store instead of from the residues.
    """
    blocks = []
    for block in range(key.block - 1, -1, -1):
        lower = key.at(block)
        with suppress(OSError):
            if (lower.directory(root) / _KEY).read_bytes() == lower.document():
                blocks.append(block)
    return blocks


def _are_whole(file: int, entries: Index, row_bytes: int) -> npt.NDArray[np.bool_]:
    whole = np.zeros(len(entries.ids), dtype=bool)
    for at in np.argsort(entries.starts).tolist():
        start, size = int(entries.starts[at]) * row_bytes, int(entries.lengths[at]) * row_bytes
        with suppress(OSError):  # a bad sector
            content = os.pread(file, size, start)
            whole[at] = hashlib.sha256(content).digest() == entries.digests[at].tobytes()
    return whole


def _same(one: Sequence[ShardRecord], other: Sequence[ShardRecord]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
