"""Rows of a delimited text file, with the line that each starts on.

Invariant: every non-blank row below the header is yielded once, as cells or as a BadRecord; one row is held.
Flow: lines -> [this] -> table, netsurfp_csv.

Decisions: the separator is whichever of comma, tab, semicolon and bar is most frequent in the header. Quotes
are those of CSV; blanks around a cell are not content, but for labels. A row is `malformed-row` if it has another
number of cells than the header, or if it runs over several lines because a quote was not closed (its detail names the
lines).
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from liftray.data.formats.columns import check_once, normal_name
from liftray.data.formats.lines import BrokenStreamError, no_records, read_lines
from liftray.data.records import BadRecord
from liftray.errors import DataError

_SEPARATORS = ",\t;|"


class Header(NamedTuple):
    """Column names in lower case with underscores, the separator, and whether a blank follows it."""

    names: list[str]
    separator: str
    spaced: bool = False


class Row(NamedTuple):
    """The line that a row starts on, its cells stripped, and as they are: at the end of labels a blank is a label."""

    line: int
    cells: list[str]
    raw: list[str]


def read_header(path: Path) -> Header:
    """Read the first non-blank line as column names.

    Raises:
        DataError: The file is empty or unreadable, has one column only, or names a column twice.
    """
    try:
        text = next((line.text for line in read_lines(path) if line.text.strip()), None)
    except BrokenStreamError as broken:
        raise DataError(broken.detail, where=str(path), remedy="fetch the file again") from broken
    if text is None:
        raise no_records(path)
    separator = max(_SEPARATORS, key=text.count)
    try:
        cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"header is not that of a table ({error})", where=str(path)) from error
    names = [normal_name(cell) for cell in cells]
    check_once(names, str(path))
    return Header(names, separator, separator + " " in text)


def read_rows(path: Path, header: Header) -> Iterator[Row | BadRecord]:
    """Yield the rows below the header.

    Args:
        path: The file.
        header: What `read_header` gave for it.

    Yields:
        The rows in file order; at the end of a broken gzip stream a BadRecord for the row that was open.
    """
    feed = _Feed(path)
    rows = csv.reader(feed, delimiter=header.separator, skipinitialspace=header.spaced)
    seen_header = False
    while True:
        start = feed.number + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except BrokenStreamError as broken:
            yield broken.bad_record(path, start)
            return
        except csv.Error as error:
            yield BadRecord(str(path), start, "", "malformed-row", f"lines {start} to {feed.number}: {error}")
            continue
        raw, cells = cells, [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if not seen_header:
            seen_header = True
        elif len(cells) != len(header.names):
            wrong = (
                f"lines {start} to {feed.number}: {len(cells)} cells where the header has {len(header.names)}"
            )
            yield BadRecord(str(path), start, cells[0], "malformed-row", wrong)
        else:
            yield Row(start, cells, raw)


class _Feed:
    """Lines with their endings, as the csv module needs them, and the number of the last line that it read."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self._lines = read_lines(path)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        return line.text + "\n"
