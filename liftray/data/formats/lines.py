"""Numbered lines of a text file of unknown origin: gzip or not, any line ending, any bytes.

Invariant: at most one line is in memory. A damaged stream gives every whole line before the damage, then
`BrokenStreamError`; it never ends as if the file were complete. The lowest layer of the text readers.

Decisions: gzip is recognised by its first bytes, not by the name. LF, CRLF and CR all end a line. A UTF-8 byte
order mark is not content and is skipped; UTF-16 is refused. Bytes that are not UTF-8 become lone surrogates, so
that validation can name the record. A line over `MAX_LINE` characters is truncated and marked so.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from liftray.data.records import BadRecord
from liftray.errors import DataError

MAX_LINE = 1 << 22
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """One line without its ending: number from 1, text, and whether the text was cut at `MAX_LINE`."""

    number: int
    text: str
    cut: bool


class BrokenStreamError(Exception):
    """The gzip stream ended early or is damaged after line `number`; `reason` is the quarantine code."""

    def __init__(self, reason: str, detail: str, number: int) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.number = reason, detail, number

    def bad_record(self, path: Path, line: int | None = None, record_id: str = "") -> BadRecord:
        """The quarantine entry for the record that was not complete when the stream broke."""
        return BadRecord(str(path), line or self.number + 1, record_id, self.reason, self.detail)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file.

    Args:
        path: A text file, gzip-compressed or not.

    Yields:
        Each line, blank ones too.

    Raises:
        DataError: The file is missing, unreadable or UTF-16.
        BrokenStreamError: The gzip stream ends early (`truncated-gzip`) or is damaged (`damaged-gzip`).
    """
    number = 0
    with _open_text(path) as file:
        while True:
            try:
                text, cut = _read_line(file)
            except EOFError as error:
                detail = f"the gzip stream ends early, after line {number}"
                raise BrokenStreamError("truncated-gzip", detail, number) from error
            except (gzip.BadGzipFile, zlib.error) as error:
                detail = f"the gzip stream is damaged after line {number}"
                raise BrokenStreamError("damaged-gzip", detail, number) from error
            if not text:
                return
            number += 1
            yield Line(number, text.removesuffix("\n"), cut)


def first_bytes(path: Path, count: int = 8) -> bytes:
    """The first bytes of a file, not inflated; DataError if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for an input file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return DataError("no such file", where=str(path), remedy="check the path")
    return DataError(
        f"cannot read the file ({error.strerror})", where=str(path), remedy="check its permissions"
    )


def no_records(path: Path) -> DataError:
    """The error for an input file that holds no record at all."""
    return DataError(
        "no records: the file is empty", where=str(path), remedy="give a file with labelled chains"
    )


def _read_line(file: io.TextIOWrapper) -> tuple[str, bool]:
    text = file.readline(MAX_LINE)
    rest = text
    while len(rest) == MAX_LINE and not rest.endswith("\n"):
        rest = file.readline(MAX_LINE)
    return text, rest is not text


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    magic = first_bytes(path, 4)
    if magic.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("text in UTF-16", where=str(path), remedy="save it as UTF-8")
    with path.open("rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if magic.startswith(_GZIP) else raw
        with io.TextIOWrapper(cast(BinaryIO, stream), encoding="utf-8-sig", errors="surrogateescape") as text:
            yield text
