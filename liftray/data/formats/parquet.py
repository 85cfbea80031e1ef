"""Parquet from outside: the columns of `columns`, one chain a row, untrusted.

Invariant: nothing of a file is used before its batch passed `validate(full=True)`; a damaged file is refused
whole. Flow: [this] -> validate -> ingest. Arrow IPC and Feather are not read. Rows have no lines: `line` is 0
and the id, or else the row's number in it, finds the record. A `source` column, as LiftRay's own data sets
have, is kept.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from liftray.data.formats.columns import Columns, SplitGuard, find_columns, named_alphabet
from liftray.data.formats.delimited import normal_name
from liftray.data.formats.lines import no_records
from liftray.data.formats.names import alphabet_in_name
from liftray.data.formats.table import join_id, row_id
from liftray.data.labels import STATES
from liftray.data.records import ALPHABET_KEY, BadRecord, ProteinRecord
from liftray.errors import DataError

_BATCH = 1024


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a Parquet file, not yet validated.

    Args:
        path: The file.
        alphabet: Chooses the label column.

    Yields:
        A record for each row, in file order.

    Raises:
        DataError: The file is not Parquet, is damaged or empty, lacks a column of text, or holds several
            parts of a split.
    """
    with _open(path) as file:
        names = {normal_name(name): name for name in file.schema_arrow.names}
        columns = find_columns(list(names), alphabet, str(path))
        wanted = [*columns.ids, columns.sequence, columns.labels]
        split = SplitGuard(list(names), str(path))
        wanted += [name for name in ("source", split.column) if name in names and name not in wanted]
        number = 0
        for number, row in enumerate(_rows(file, path, [names[name] for name in wanted]), 1):
            cells = dict(zip(wanted, row, strict=True))
            if split.column:
                split.check(cells[split.column])
            yield _record(cells, columns, path, number)
        if not number:
            raise no_records(path)


def declared_alphabet(path: Path) -> str | None:
    """The alphabet in the schema's metadata, of a label column's name, or of the file's name; else None."""
    with _open(path) as file:
        schema = file.schema_arrow
    named = (schema.metadata or {}).get(ALPHABET_KEY, b"").decode("ascii", "replace")
    if named in STATES:
        return named
    return named_alphabet([normal_name(name) for name in schema.names]) or alphabet_in_name(path.name)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"not readable as Parquet ({error})", where=str(path), remedy="write or fetch the file again"
    )


def _rows(file: pq.ParquetFile, path: Path, names: list[str]) -> Iterator[tuple[str | None, ...]]:
    batches = file.iter_batches(_BATCH, columns=names, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            cells = [_text(table.column(name), name, path).to_pylist() for name in names]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, error) from error
        yield from zip(*cells, strict=True)


def _text(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    kind = column.type
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    if not any(is_kind(inner) for is_kind in texts):
        raise DataError(f"column {name!r} is of type {kind}", where=str(path), remedy="store it as a string")
    return pc.cast(column, pa.large_string())


def _record(
    cells: dict[str, str | None], columns: Columns, path: Path, number: int
) -> ProteinRecord | BadRecord:
    parts = [cells[name] or "" for name in columns.ids]
    record_id = join_id(parts) if parts else row_id(path, number)
    sequence, ss = cells[columns.sequence], cells[columns.labels]
    if sequence is None or ss is None:
        missing = columns.sequence if sequence is None else columns.labels
        return BadRecord(str(path), 0, record_id, "empty", f"row {number}: no value in column {missing!r}")
    if not record_id:
        return BadRecord(str(path), 0, "", "missing-id", f"row {number}: the record has no id")
    return ProteinRecord(record_id, sequence, columns.states(ss), cells.get("source") or path.name)
