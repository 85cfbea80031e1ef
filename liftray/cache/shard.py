"""A shard: a file of rows, and the ledger record that commits it and lists its entries.

Invariant: rows count only with a whole ledger record of the same name and key in the same directory. A record appears
in one move, after its rows have reached the disk. NumPy only. Flow: writer -> [this] -> index.

`NAME.rows` holds the entries' rows one after the other and nothing else, so row i starts at byte i * R. `NAME.ledger`
has a header (magic, the shard's name, the key's digest, R, entries N, rows in the file), then ids (N, 16), first rows
(N,), lengths (N,), the entries' sha256 (N, 32), and the sha256 of all before. NAME is 32 random hex digits.
"""

import hashlib
import os
import secrets
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from liftray import files
from liftray.cache.key import ID_BYTES

ROWS, LEDGER = ".rows", ".ledger"
DIGEST_BYTES = 32
_MAGIC = b"LIFTCAC1"
_HEADER = struct.Struct("<8s16s32sIQQ")
_ENTRY_BYTES = ID_BYTES + 8 + 4 + DIGEST_BYTES

Bytes = npt.NDArray[np.uint8]


class DamagedShardError(Exception):
    """A shard's files are not as they were written; the message says how."""


@dataclass(frozen=True)
class ShardRecord:
    """A committed shard's ledger record (N entries).

    Attributes:
        name: The shard.
        row_bytes: R, bytes of a row.
        rows: Rows in the shard's file, those of struck entries included.
        ids: (N,) `S16`, the entries' ids.
        starts: (N,) uint64, each entry's first row.
        lengths: (N,) uint32, each entry's rows.
        digests: (N, 32) uint8, the sha256 of each entry's bytes.
    """

    name: str
    row_bytes: int
    rows: int
    ids: npt.NDArray[np.bytes_]
    starts: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    digests: Bytes

    def without(self, ids: npt.NDArray[np.bytes_]) -> "ShardRecord":
        """The record with some entries struck; their rows stay in the file, unused."""
        kept = ~np.isin(self.ids, ids)
        parts = self.ids[kept], self.starts[kept], self.lengths[kept], self.digests[kept]
        return ShardRecord(self.name, self.row_bytes, self.rows, *parts)


def new_name() -> str:
    """A name that no other shard has."""
    return secrets.token_hex(16)


def rows_path(directory: Path, name: str) -> Path:
    """The file of a shard's rows."""
    return directory / (name + ROWS)


def ledger_path(directory: Path, name: str) -> Path:
    """A shard's ledger record."""
    return directory / (name + LEDGER)


def commit(directory: Path, record: ShardRecord, key_digest: str) -> None:
    """Write or replace a shard's ledger record, under the directory's lock, after its rows have reached the disk."""
    header = _HEADER.pack(
        _MAGIC,
        bytes.fromhex(record.name),
        bytes.fromhex(key_digest),
        record.row_bytes,
        len(record.ids),
        record.rows,
    )
    arrays = (
        record.ids.astype(f"S{ID_BYTES}"),
        record.starts.astype("<u8"),
        record.lengths.astype("<u4"),
        record.digests,
    )
    body = header + b"".join(array.tobytes() for array in arrays)
    files.write_bytes(ledger_path(directory, record.name), body + hashlib.sha256(body).digest())


def load(directory: Path, name: str, key_digest: str, row_bytes: int) -> ShardRecord:
    """Read a shard's ledger record and compare it with the file of rows.

    Raises:
        DamagedShardError: The record is torn, changed, of another shard or of another key, or does not fit its rows.
        FileNotFoundError: There is no such record.
        OSError: It cannot be read.
    """
    content = ledger_path(directory, name).read_bytes()
    body, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if len(body) < _HEADER.size or hashlib.sha256(body).digest() != digest:
        raise DamagedShardError("its ledger record has changed since it was written")
    magic, named, keyed, width, count, rows = _HEADER.unpack_from(body)
    if magic != _MAGIC or keyed.hex() != key_digest or width != row_bytes:
        raise DamagedShardError("it was made under another key")
    if named.hex() != name:
        raise DamagedShardError("its ledger record is that of another shard")
    if len(body) != _HEADER.size + count * _ENTRY_BYTES:
        raise DamagedShardError("its ledger record has another length than its entries need")
    try:
        size = rows_path(directory, name).stat().st_size
    except FileNotFoundError:
        raise DamagedShardError("its rows are missing") from None
    if size != rows * row_bytes:
        raise DamagedShardError(f"its rows have {size} bytes instead of {rows * row_bytes}")
    return _unpack(body, name, row_bytes, rows, count)


def remove(directory: Path, name: str) -> int:
    """Remove a shard, its record first, under the directory's lock and with the shard's exclusive lease.

    Returns:
        The bytes freed.
    """
    freed = 0
    for path in (ledger_path(directory, name), rows_path(directory, name)):
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            files.DISK.remove(path)
            files.DISK.sync_directory(directory)  # in this order also after a loss of power
            freed += size
    return freed


def touch(file: int) -> None:
    """Record that a shard is used now; where the file is not writable, it counts as unused."""
    try:
        os.utime(file)
    except OSError:
        return


def _unpack(body: bytes, name: str, row_bytes: int, rows: int, count: int) -> ShardRecord:
    ids_at = _HEADER.size
    starts_at = ids_at + count * ID_BYTES
    lengths_at = starts_at + count * 8
    digests_at = lengths_at + count * 4
    return ShardRecord(
        name=name,
        row_bytes=row_bytes,
        rows=rows,
        ids=np.frombuffer(body, f"S{ID_BYTES}", count, ids_at),
        starts=np.frombuffer(body, "<u8", count, starts_at).astype(np.uint64),
        lengths=np.frombuffer(body, "<u4", count, lengths_at).astype(np.uint32),
        digests=np.frombuffer(body, np.uint8, count * DIGEST_BYTES, digests_at).reshape(count, DIGEST_BYTES),
    )
