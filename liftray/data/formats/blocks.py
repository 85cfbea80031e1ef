"""Blocks of text under `>` headers, which three-line files and FASTA share.

Invariant: every non-blank line of the file belongs to exactly one yielded block or bad record, and one block
at most is held, of bounded size. Flow: lines -> [this] -> three_line, fasta.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from liftray.data.formats.lines import BrokenStreamError, Line, no_records, read_lines
from liftray.data.formats.parts import header_fields, part_of
from liftray.data.records import BadRecord
from liftray.data.validate import MAX_RESIDUES

# Sequence and labels of the longest chain that is taken, with room to see that a longer one is too long.
_MAX_BODY = 2 * (MAX_RESIDUES + 1)


@dataclass(slots=True)
class Block:
    """A header and the lines under it.

    Attributes:
        header: Text after `>`.
        line: Number of the header's line.
        body: Non-empty lines under it, unchanged.
        too_long: Lines were left out or cut because the block is larger than any chain that is taken.
    """

    header: str
    line: int
    body: list[str] = field(default_factory=list)
    too_long: bool = False
    _size: int = 0

    @property
    def id(self) -> str:
        """First word of the header, the FASTA convention; "" where there is none."""
        words = self.header.split(maxsplit=1)
        return words[0] if words else ""

    @property
    def fields(self) -> dict[str, str]:
        """The `KEY=VALUE` words of the header, keys in upper case."""
        return header_fields(self.header)

    @property
    def part(self) -> str:
        """The part of a split that `SET=` and `VALIDATION=` name; "" for none."""
        return part_of(self.fields.get("SET"), self.fields.get("VALIDATION"))

    def add(self, line: Line) -> None:
        """Take one more line, up to the size limit."""
        self._size += len(line.text)
        if line.cut or self._size > _MAX_BODY:
            self.too_long = True
        elif line.text:
            self.body.append(line.text)

    def bad(self, path: Path, reason: str, detail: str) -> BadRecord:
        """This block as a quarantine entry."""
        return BadRecord(str(path), self.line, self.id, reason, detail)


def read_blocks(path: Path) -> Iterator[Block | BadRecord]:
    """Yield the blocks of a file in order.

    Args:
        path: A text file, gzip-compressed or not.

    Yields:
        A block for each `>` line; a BadRecord (`no-header`) for a run of text before the first one; at the
        end of a broken gzip stream a BadRecord in place of the block that was open, which may lack lines.

    Raises:
        DataError: The file cannot be read or holds nothing but blank lines.
    """
    block: Block | None = None
    stray: Line | None = None
    try:
        for line in read_lines(path):
            if line.text.startswith(">"):
                if block:
                    yield block
                elif stray:
                    yield _no_header(path, stray)
                block = Block(line.text[1:], line.number, too_long=line.cut)
            elif block:
                block.add(line)
            elif line.text.strip() and not stray:
                stray = line
    except BrokenStreamError as broken:
        if stray and not block:
            yield _no_header(path, stray)
        yield broken.bad_record(path, block.line, block.id) if block else broken.bad_record(path)
        return
    if block:
        yield block
    elif stray:
        yield _no_header(path, stray)
    else:
        raise no_records(path)


def _no_header(path: Path, line: Line) -> BadRecord:
    return BadRecord(
        str(path), line.number, "", "no-header", "text before the first line that starts with '>'"
    )
