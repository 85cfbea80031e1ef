"""Adding entries to a store, shard by shard.

Invariant: a shard has one writer, which holds its exclusive lease from the first byte to the commit. What was committed
remains, whatever happens to the writer. NumPy only. Flow: fill -> [this] -> shard.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from liftray import files
from liftray.cache import lease, shard
from liftray.cache.key import ID_BYTES, PrefixKey
from liftray.cache.shard import Bytes, ShardRecord
from liftray.errors import CacheError

SHARD_BYTES = 256 << 20


class Writer:
    """Writes new shards of one store; use it in a `with` block, whose end commits the last shard.

    Args:
        directory: The store's directory, which exists.
        key: The store's key.
        max_shard_bytes: A shard is committed before it exceeds this; a single larger entry is a shard of its own.
    """

    def __init__(self, directory: Path, key: PrefixKey, max_shard_bytes: int = SHARD_BYTES) -> None:
        self._directory, self._key, self._digest = directory, key, key.digest()
        self._max_bytes = max_shard_bytes
        self._seen: set[bytes] = set()
        self._open: _OpenShard | None = None
        self._failed = False

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also when the block failed or was interrupted: the entries added so far are whole.
        if not self._failed:
            self.commit()

    def add(self, entry: bytes, rows_LR: Bytes) -> None:
        """Add an entry; one that this writer has added before is ignored.

        Args:
            entry: The id, 16 bytes.
            rows_LR: (L tokens, R bytes) uint8, L > 0.

        Raises:
            CacheError: The disk is full or not writable; the shard that was being written is gone.
            ValueError: The id or the rows have another shape or type.
            RuntimeError: An earlier call failed: this writer has stopped.
        """
        if self._failed:
            raise RuntimeError("this writer has stopped")
        self._check(entry, rows_LR)
        if entry in self._seen:
            return
        if self._open and self._open.size + rows_LR.nbytes > self._max_bytes:
            self.commit()
        try:
            if self._open is None:
                self._open = _OpenShard(self._directory, self._key.row_bytes)
            self._open.add(entry, np.ascontiguousarray(rows_LR))
        except OSError as error:
            raise self._stop(error, rows_LR.nbytes) from error
        except BaseException:  # interrupted within an entry: where the next one would start is not known
            self._give_up()
            raise
        self._seen.add(entry)

    def _check(self, entry: bytes, rows_LR: Bytes) -> None:
        if len(entry) != ID_BYTES:
            raise ValueError(f"an entry's id has {ID_BYTES} bytes, not {len(entry)}")
        rows = rows_LR.ndim == 2 and len(rows_LR) > 0 and rows_LR.shape[1] == self._key.row_bytes
        if not rows or rows_LR.dtype != np.uint8:
            raise ValueError(
                f"an entry has rows of {self._key.row_bytes} uint8, not {rows_LR.shape} {rows_LR.dtype}"
            )

    def commit(self) -> None:
        """Commit the shard being written, if there is one.

        Raises:
            CacheError: The disk is full or not writable; the shard is gone.
        """
        if self._open is None:
            return
        try:
            self._open.commit(self._digest)
        except OSError as error:
            raise self._stop(error, self._open.size) from error
        self._open = None

    def _stop(self, error: OSError, needed: int) -> CacheError:
        free = _free_bytes(self._directory)  # before the partial shard is removed: this was too little
        self._give_up()
        return CacheError(
            f"cannot write the cache ({error.strerror or error}): {needed} bytes needed, {free} free",
            where=str(self._directory),
            remedy="free space, lower cache.max_gb, or set cache.dir to a directory on a larger disk;"
            " committed entries remain",
        )

    def _give_up(self) -> None:
        self._failed = True
        if self._open is not None:
            self._open.drop()
            self._open = None


class _OpenShard:
    """The shard being written.

    Raises:
        OSError: It cannot be written; then call `drop`.
    """

    def __init__(self, directory: Path, row_bytes: int) -> None:
        self._directory, self._row_bytes = directory, row_bytes
        self._name = shard.new_name()
        self._path = shard.rows_path(directory, self._name)
        self._ids: list[bytes] = []
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        with lease.names(directory):
            self._file = files.DISK.create(self._path)
            lease.hold(self._file)

    @property
    def size(self) -> int:
        return sum(self._lengths) * self._row_bytes

    def add(self, entry: bytes, rows_LR: Bytes) -> None:
        content = rows_LR.data.cast("B")
        files.DISK.append(self._file, self._path, content)
        self._ids.append(entry)
        self._lengths.append(len(rows_LR))
        self._digests.append(hashlib.sha256(content).digest())

    def commit(self, key_digest: str) -> None:
        files.DISK.fsync(self._path)
        lengths = np.array(self._lengths, dtype=np.uint32)
        ends = np.cumsum(lengths, dtype=np.uint64)
        record = ShardRecord(
            name=self._name,
            row_bytes=self._row_bytes,
            rows=int(ends[-1]),
            ids=np.frombuffer(b"".join(self._ids), dtype=f"S{ID_BYTES}"),
            starts=ends - lengths,
            lengths=lengths,
            digests=np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, shard.DIGEST_BYTES),
        )
        with lease.names(self._directory):
            lease.ease(self._file)
            shard.commit(self._directory, record, key_digest)
        os.close(self._file)

    def drop(self) -> None:
        """Remove what is not committed."""
        with suppress(OSError), lease.names(self._directory):
            shard.remove(self._directory, self._name)
        with suppress(OSError):
            os.close(self._file)


def _free_bytes(directory: Path) -> int:
    try:
        free = os.statvfs(directory)
    except OSError:
        return 0
    return free.f_bavail * free.f_frsize
