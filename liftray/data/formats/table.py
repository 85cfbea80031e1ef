"""Delimited tables (CSV, TSV) with one chain a row.

Invariant: one row below the header gives one ProteinRecord or one BadRecord. Flow: delimited -> [this] ->
validate -> ingest. Column names and what they mean: `columns`. In a table with the columns `input`, `dssp3`,
`dssp8` and `disorder` (the NetSurfP-2.0 data sets) `disorder` lists 0 for a residue without coordinates; its
label means nothing and reads as `X`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from liftray.data.formats.columns import SplitGuard, find_columns, named_alphabet
from liftray.data.formats.delimited import read_header, read_rows
from liftray.data.formats.lines import no_records
from liftray.data.formats.names import alphabet_in_name
from liftray.data.labels import UNLABELLED
from liftray.data.records import BadRecord, ProteinRecord


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a table, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: Chooses the label column.

    Yields:
        A record for each row, in file order.

    Raises:
        DataError: The file cannot be read, is empty, lacks a column, or holds several parts of a split.
    """
    header = read_header(path)
    columns = find_columns(header.names, alphabet, str(path))
    place = {name: at for at, name in enumerate(header.names)}
    masked = {"input", "disorder"} <= set(header.names) and columns.labels.startswith("dssp")
    split = SplitGuard(header.names, str(path))
    number = 0
    for number, row in enumerate(read_rows(path, header), 1):
        if isinstance(row, BadRecord):
            yield row
            continue
        if split.column:
            split.check(row.cells[place[split.column]])
        parts = [row.cells[place[name]] for name in columns.ids]
        record_id = join_id(parts) if parts else row_id(path, number)
        sequence = row.cells[place[columns.sequence]]
        ss: str | None = columns.states(row.cells[place[columns.labels]])
        if masked and ss is not None:
            ss = _mask(ss, row.cells[place["disorder"]])
        if ss is None:
            wrong = "the disorder column has another number of values than there are labels"
            yield BadRecord(str(path), row.line, record_id, "mask-mismatch", wrong)
        else:
            yield ProteinRecord(record_id, sequence, ss, path.name, row.line)
    if not number:
        raise no_records(path)


def declared_alphabet(path: Path) -> str | None:
    """The richest alphabet that a label column is named by, else the one in the file's name, or None."""
    return named_alphabet(read_header(path).names) or alphabet_in_name(path.name)


def join_id(parts: Sequence[str]) -> str:
    """The id of a row from its id cells; "" where one is empty, so that validation refuses it."""
    return "_".join(parts) if all(parts) else ""


def row_id(path: Path, number: int) -> str:
    """The id of a row without id cells: the file's name up to its first dot, and the row from 1."""
    return f"{path.name.split('.')[0]}-{number}"


def _mask(ss: str, disorder: str) -> str | None:
    """Put `X` where the list of numbers has 0; None where the list is of another length."""
    flags = disorder.strip("[]() ").replace(",", " ").split()
    if len(flags) != len(ss):
        return None
    return "".join(UNLABELLED if flag in _ZERO else label for flag, label in zip(flags, ss, strict=True))


_ZERO = frozenset({"0", "0.", "0.0"})
