"""The place of each entry of a store: all ledger records merged into a few sorted arrays.

Invariant: it names only entries that a whole record commits, and an entry that two shards hold once. A hundred thousand
entries take some megabytes of arrays, no Python objects. Pure NumPy. Flow: shard -> [this] -> store, reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liftray.cache.key import ID_BYTES
from liftray.cache.shard import DIGEST_BYTES, Bytes, ShardRecord


@dataclass(frozen=True)
class Index:
    """The entries of some shards, sorted by id (N entries).

    Attributes:
        names: The shards.
        ids: (N,) `S16`, ascending, each once.
        shards: (N,) int32, which of `names` holds the entry.
        starts: (N,) uint64, first row in the shard's file.
        lengths: (N,) uint32, rows.
        digests: (N, 32) uint8, sha256 of the entry's bytes.
    """

    names: tuple[str, ...]
    ids: npt.NDArray[np.bytes_]
    shards: npt.NDArray[np.int32]
    starts: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    digests: Bytes

    def find(self, ids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """(N,) position of each id in the index, -1 where it has none."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1).astype(np.int64)

    def take(self, at: npt.NDArray[np.int64]) -> "Index":
        """The entries at ascending positions."""
        parts = self.ids[at], self.shards[at], self.starts[at], self.lengths[at], self.digests[at]
        return Index(self.names, *parts)


def merge(records: Sequence[ShardRecord]) -> Index:
    """Merge ledger records; of an entry in two shards, the shard of the lowest name counts."""
    records = sorted(records, key=lambda record: record.name)
    ids = _joined([record.ids for record in records], f"S{ID_BYTES}")
    shards = np.repeat(np.arange(len(records), dtype=np.int32), [len(record.ids) for record in records])
    starts = _joined([record.starts for record in records], np.uint64)
    lengths = _joined([record.lengths for record in records], np.uint32)
    digests = np.concatenate([np.empty((0, DIGEST_BYTES), np.uint8), *[record.digests for record in records]])
    order = np.argsort(ids, kind="stable")
    if len(ids):
        once = np.ones(len(ids), dtype=bool)
        once[1:] = ids[order[1:]] != ids[order[:-1]]
        order = order[once]
    names = tuple(record.name for record in records)
    return Index(names, ids[order], shards[order], starts[order], lengths[order], digests[order])


def as_array(ids: Sequence[bytes]) -> npt.NDArray[np.bytes_]:
    """(N,) `S16` array of entry ids.

    Raises:
        ValueError: An id has another length.
    """
    if any(len(each) != ID_BYTES for each in ids):
        raise ValueError(f"entry ids have {ID_BYTES} bytes")
    return np.frombuffer(b"".join(ids), dtype=f"S{ID_BYTES}")


def as_bytes(ids: npt.NDArray[np.bytes_]) -> list[bytes]:
    """The ids of an array, each of 16 bytes: NumPy's own conversion drops closing zeros."""
    joined = ids.tobytes()
    return [joined[at : at + ID_BYTES] for at in range(0, len(joined), ID_BYTES)]


def _joined(parts: list[npt.NDArray], dtype: npt.DTypeLike) -> npt.NDArray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
