"""Files that hold their own digest: JSON and Parquet that a later stage reads back.

Invariant: what is returned was read from a file of which no byte differs from what was written. The seal is the sha256
of the whole file with its own 64 digits as zeros, so it also covers what surrounds the content.

A file that version 0.1 wrote has no seal and is read as it is, and so is JSON that another program has written again in
one line. One changed byte cannot make a sealed file look like that: key and mark of the seal both name it. This finds
damage; whoever rewrites a file can also seal it.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray import documents, files, limits
from liftray.errors import DataError, InputError
from liftray.input_files import read_input

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "liftray_seal"
_MARK = "seal-1:sha256:"
_OPEN = _MARK + "0" * 64
_SEAL = re.compile(_MARK.encode() + rb"([0-9a-f]{64})")
_JSON_END = re.compile(rb',\n  "' + KEY.encode() + rb'": "' + _MARK.encode() + rb'[0-9a-f]{64}"\n\}\n')
_AGAIN = "remove it, or make it again"
_CHANGED = "damaged: it has changed since it was written"


def write_json(path: str | Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write an object as indented JSON whose last key is the seal.

    Args:
        path: The file; replaced as a whole.
        content: JSON-ready, not empty; NaN is refused. A seal in it is replaced.

    Returns:
        What was written, with the seal.
    """
    whole = {**{key: value for key, value in content.items() if key != KEY}, KEY: _OPEN}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    raw = _closed(text.encode("utf-8"))
    files.write_bytes(path, raw)
    return {**whole, KEY: _MARK + raw[-68:-4].decode("ascii")}


def read_json(
    path: str | Path,
    error: type[InputError] = DataError,
    *,
    remedy: str = _AGAIN,
    with_seal: bool = False,
) -> dict[str, Any]:
    """Read an object that `write_json` wrote.

    Args:
        path: The file.
        error: What to raise where it is damaged.
        remedy: For the error.
        with_seal: Whether the seal stays in the result, where there is one.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: Of the given class: it cannot be read, is not JSON, or has changed since it was written.
    """
    if not Path(path).exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    raw = read_input(path, max_bytes=limits.JSON_BYTES, error=error, inflated=False)
    return parse_json(raw, str(path), error, remedy=remedy, with_seal=with_seal)


def parse_json(
    raw: bytes,
    where: str,
    error: type[InputError] = DataError,
    *,
    remedy: str = _AGAIN,
    with_seal: bool = False,
) -> dict[str, Any]:
    """Check the seal in a file's bytes and parse them; see `read_json`."""
    # In one line, it is what another program wrote on purpose: no damage takes all line ends of a file away.
    if _is_sealed(raw) and b"\n" in raw.strip():
        end = _JSON_END.search(raw, max(0, len(raw) - 200))
        if end is None or end.end() != len(raw) or not _is_whole(raw):
            raise error(_CHANGED, where=where, remedy=remedy)
    content: dict[str, Any] = documents.parse_json(raw, where=where, error=error, remedy=remedy, ours=True)
    if not with_seal:
        content.pop(KEY, None)
    return content


def write_table(path: str | Path, table: "pa.Table") -> None:
    """Write a table as Parquet with the seal in its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({KEY: _OPEN})
    files.write_bytes(path, _closed(buffer.getvalue().to_pybytes()))


def read_table(
    path: str | Path,
    columns: list[str] | None = None,
    error: type[InputError] = DataError,
    *,
    remedy: str = _AGAIN,
) -> "pa.Table":
    """Read a table that `write_table` wrote.

    Args:
        path: The file.
        columns: Names of columns; None for all.
        error: What to raise where it is damaged.
        remedy: For the error.

    Raises:
        InputError: Of the given class: it is missing, cannot be read, lacks a column, or has changed since it was
            written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = read_input(path, max_bytes=limits.TABLE_BYTES, error=error, inflated=False)
    if _is_sealed(raw) and not _is_whole(raw):
        raise error(_CHANGED, where=str(path), remedy=remedy)
    try:
        with pq.ParquetFile(pa.BufferReader(raw)) as file:
            if missing := sorted(set(columns or ()) - set(file.schema_arrow.names)):
                raise ValueError(f"no column {missing[0]!r}")
            table = file.read(columns=columns, use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise error(f"unreadable table ({reason})", where=str(path), remedy=remedy) from fault
    return table


def _is_sealed(raw: bytes) -> bool:
    return KEY.encode() in raw or _MARK.encode() in raw


def _closed(raw: bytes) -> bytes:
    at = raw.rindex(_OPEN.encode()) + len(_MARK)
    return raw[:at] + hashlib.sha256(raw).hexdigest().encode() + raw[at + 64 :]


def _is_whole(raw: bytes) -> bool:
    seals = list(_SEAL.finditer(raw))
    if not seals:
        return False
    start, stop = seals[-1].span(1)
    digest = hashlib.sha256(raw[:start])
    digest.update(b"0" * 64)
    digest.update(raw[stop:])
    return digest.hexdigest().encode() == seals[-1][1]
