"""Numbered lines of a text file of unknown origin: compressed or not, any line ending, any bytes.

Invariant: at most one line is in memory. A damaged stream gives every whole line before the damage, then
`BrokenStreamError`; it never ends as if the file were complete. The lowest layer of the text readers.

Decisions: LF, CRLF and CR all end a line. A UTF-8 byte order mark is not content and is skipped; UTF-16 is refused.
Bytes that are not UTF-8 become lone surrogates, so that validation can name the record. A line over `MAX_LINE`
characters is truncated and marked so; one over `limits.LINE_SKIPPED_CHARACTERS` is no line of text, and is refused.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from liftray import limits
from liftray.data.records import BadRecord
from liftray.errors import DataError
from liftray.input_files import DamagedStreamError, open_input

MAX_LINE = limits.LINE_CHARACTERS
_OTHER_TEXT = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class Line(NamedTuple):
    """One line without its ending: number from 1, text, and whether the text was cut at `MAX_LINE`."""

    number: int
    text: str
    cut: bool


class BrokenStreamError(Exception):
    """The compressed stream ended early or is damaged after line `number`; `reason` is the quarantine code."""

    def __init__(self, reason: str, detail: str, number: int) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.number = reason, detail, number

    def bad_record(self, path: Path, line: int | None = None, record_id: str = "") -> BadRecord:
        """The quarantine entry for the record that was not complete when the stream broke."""
        return BadRecord(str(path), line or self.number + 1, record_id, self.reason, self.detail)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file.

    Args:
        path: A text file, compressed or not: see `input_files.open_input`.

    Yields:
        Each line, blank ones too.

    Raises:
        DataError: The file is missing, unreadable, UTF-16 or over a limit.
        BrokenStreamError: The compressed stream ends early (`truncated-gzip`, `truncated-xz` ...) or is damaged
            (`damaged-gzip` ...).
    """
    number = 0
    with _open_text(path) as file:
        while True:
            try:
                text, cut = _read_line(file, path)
            except DamagedStreamError as error:
                reason = f"{'truncated' if error.truncated else 'damaged'}-{error.compression}"
                raise BrokenStreamError(reason, f"{error}, after line {number}", number) from error
            if not text:
                return
            number += 1
            yield Line(number, text.removesuffix("\n"), cut)


def no_records(path: Path) -> DataError:
    """The error for an input file that holds no record at all."""
    return DataError(
        "no records: the file is empty", where=str(path), remedy="give a file with labelled chains"
    )


def _read_line(file: io.TextIOWrapper, path: Path) -> tuple[str, bool]:
    text = file.readline(MAX_LINE)
    rest, size = text, len(text)
    while len(rest) == MAX_LINE and not rest.endswith("\n"):
        rest = file.readline(MAX_LINE)
        size += len(rest)
        if size > limits.LINE_SKIPPED_CHARACTERS:
            what = f"a line of over {limits.LINE_SKIPPED_CHARACTERS:,} characters"
            raise DataError(what, where=str(path), remedy="give a text file with one record a line or more")
    return text, rest is not text


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    with open_input(path) as stream:
        if _start(stream).startswith(_OTHER_TEXT):
            raise DataError("text in UTF-16 or UTF-32", where=str(path), remedy="save it as UTF-8")
        with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape") as text:
            yield text


def _start(stream: BinaryIO) -> bytes:
    try:
        return cast(io.BufferedReader, stream).peek(4)[:4]
    except DamagedStreamError:  # the first line meets it again
        return b""
