"""Three-line files: `>id`, sequence, labels; nothing is wrapped.

Invariant: one `>` line gives one ProteinRecord or one BadRecord. Flow: blocks -> [this] -> validate ->
ingest.

Decisions: the id is the first word after `>`. Blank lines are not content; blanks at the end of the labels are labels
up to the number of residues (`spelling`). A record of fewer than two lines is `truncated-record`, of more
`extra-lines`. `SET=` in the header names the part of a split.
"""

from collections.abc import Iterator
from pathlib import Path

from liftray.data.formats.blocks import Block, read_blocks
from liftray.data.formats.names import alphabet_in_name
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a three-line file, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: Not used: the labels are passed on unchanged.

    Yields:
        A record for each `>` line, in file order.

    Raises:
        DataError: The file cannot be read or is empty.
    """
    for block in read_blocks(path):
        yield block if isinstance(block, BadRecord) else _record(block, path)


def declared_alphabet(path: Path) -> str | None:
    """The alphabet in the file's name (`x.ss9.txt`), or None."""
    return alphabet_in_name(path.name)


def _record(block: Block, path: Path) -> ProteinRecord | BadRecord:
    if block.too_long:
        return block.bad(path, "too-long", "longer than any chain that is taken")
    lines = [line for line in block.body if line.strip()]
    if len(lines) < 2:
        return block.bad(
            path, "truncated-record", f"{len(lines)} of 2 lines (sequence, labels) under the header"
        )
    if len(lines) > 2:
        detail = f"{len(lines)} lines under the header where there should be 2; wrapped chains are read as FASTA pairs"
        return block.bad(path, "extra-lines", detail)
    return WrittenRecord(block.id, lines[0], lines[1], path.name, block.line, part=block.part)
