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

from liftray.data import parquet_bounds
from liftray.data.formats.columns import find_columns, named_alphabet, normal_name
from liftray.data.formats.lines import no_records
from liftray.data.formats.names import alphabet_in_name
from liftray.data.labels import STATES
from liftray.data.records import ALPHABET_KEY, BadRecord, ProteinRecord, WrittenRecord
from liftray.errors import DataError
from liftray.input_files import check_regular


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a Parquet file, not yet validated.

    Args:
        path: The file.
        alphabet: Chooses the label column.

    Yields:
        A record for each row, in file order.

    Raises:
        DataError: The file is not Parquet, is damaged or empty, lacks a column of text, or has one twice.
    """
    with _open(path) as file:
        schema = file.schema_arrow
    names = {normal_name(name): name for name in schema.names}
    columns = find_columns([normal_name(name) for name in schema.names], alphabet, str(path))
    wanted = [*columns.wanted, *(["source"] if "source" in names else [])]
    stored = [names[name] for name in wanted]
    _check_types(schema, stored, path)
    number = 0
    for number, row in enumerate(_rows(path, schema, stored), 1):
        record = columns.record(dict(zip(wanted, row, strict=True)), path, number, 0)
        if isinstance(record, WrittenRecord) and not record.id:
            record = BadRecord(str(path), 0, "", "missing-id", f"row {number}: the record has no id")
        yield record
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


def _open(path: Path, dictionaries: list[str] | None = None) -> pq.ParquetFile:
    """Open and check a file; `dictionaries` are columns whose repeated values are not to be copied for each row."""
    size = check_regular(path)
    try:
        file = pq.ParquetFile(path, read_dictionary=dictionaries)
        parquet_bounds.check(file, size, str(path))
        file.schema_arrow  # noqa: B018 - its names may not be UTF-8
    except DataError:
        raise
    except parquet_bounds.FAULTS as error:
        raise _damaged(path, error) from error
    return file


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"not readable as Parquet ({' '.join(str(error).split())[:300]})",
        where=str(path),
        remedy="write or fetch the file again",
    )


def _rows(path: Path, schema: pa.Schema, names: list[str]) -> Iterator[tuple[str | None, ...]]:
    texts = [name for name in names if _is_text(_inner(schema.field(name).type))]
    try:
        with _open(path, texts) as file:
            for batch in parquet_bounds.batches(file, names, path.stat().st_size, str(path)):
                yield from zip(*(_cells(batch.column(name)) for name in names), strict=True)
    except DataError:
        raise
    except parquet_bounds.FAULTS as error:
        raise _damaged(path, error) from error


def _check_types(schema: pa.Schema, names: list[str], path: Path) -> None:
    for name in names:
        kind = schema.field(name).type
        inner = kind.value_type if _is_list(kind) else _inner(kind)
        if not _is_text(inner) and not any(is_kind(inner) for is_kind in _NUMBERS):
            what = f"column {name!r} is of type {str(kind)[:100]}"
            raise DataError(what, where=str(path), remedy="store it as a string")


def _inner(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _cells(column: pa.Array) -> list[str | None]:
    """The values as texts, lists with blanks between their items; those of a dictionary share one object."""
    if _is_list(column.type):
        return [None if cell is None else " ".join(map(str, cell)) for cell in column.to_pylist()]
    if not pa.types.is_dictionary(column.type):
        return pc.cast(column, pa.large_string()).to_pylist()
    values = pc.cast(column.dictionary, pa.large_string()).to_pylist()
    return [None if at is None else values[at] for at in column.indices.to_pylist()]


_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
