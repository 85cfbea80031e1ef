"""Delimited tables (CSV, TSV) with one chain a row.

Invariant: one row below the header gives one ProteinRecord or one BadRecord. Flow: delimited -> [this] ->
validate -> ingest. Column names and what they mean: `columns`.
"""

from collections.abc import Iterator
from pathlib import Path

from liftray.data.formats.columns import find_columns, named_alphabet
from liftray.data.formats.delimited import read_header, read_rows
from liftray.data.formats.lines import no_records
from liftray.data.formats.names import alphabet_in_name
from liftray.data.records import BadRecord, ProteinRecord


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a table, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: Chooses the label column.

    Yields:
        A record for each row, in file order.

    Raises:
        DataError: The file cannot be read, is empty, or lacks a column.
    """
    header = read_header(path)
    columns = find_columns(header.names, alphabet, str(path))
    place = {name: at for at, name in enumerate(header.names)}
    number = 0
    for number, row in enumerate(read_rows(path, header), 1):
        if isinstance(row, BadRecord):
            yield row
            continue
        cells = {name: row.cells[place[name]] for name in columns.wanted}
        cells[columns.labels] = row.raw[place[columns.labels]]
        yield columns.record(cells, path, number, row.line)
    if not number:
        raise no_records(path)


def declared_alphabet(path: Path) -> str | None:
    """The richest alphabet that a label column is named by, else the one in the file's name, or None."""
    return named_alphabet(read_header(path).names) or alphabet_in_name(path.name)
