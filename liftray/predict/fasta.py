"""Reads the chains of a FASTA file to predict: any headers, any letters, one record in memory at a time.

Invariant: every header line gives exactly one `Chain` or one `BadChain`, in file order; a flaw in a record does not
stop the reading of later records. Flow: [this] -> predictor -> writers.

Decisions:

- Compressed files (gzip, bzip2, xz, zstd, zip), LF, CRLF and CR, byte order marks (also inside concatenated files),
  blank lines, wrapped lines, blanks and tabs inside lines, and `;` comment lines are all read.
- The id is the first word after `>`, the description is the rest; undecodable or unprintable characters become U+FFFD.
  A header without an id is named `unnamed_N`, where N is the record's number in its file. Ids may repeat: outputs
  carry the record's number too.
- Residues are predicted and written in upper case, which is all that the models know. Order and number of residues
  do not change.
- Any letter A-Z is accepted; the tokeniser reads a letter that the backbone does not know as an unknown residue.
- One final `*` (the stop of a translation) is dropped; a `*` inside a sequence is refused as `stop-codon`.
- Also refused, as in ingest: `gap`, `non-ascii`, `unknown-residue` (digits and signs), `empty`, `too-long`, `bad-id`:
  an id of over 255 characters, or a description of over 65,536.
- Where a compressed stream breaks, the record at the break is refused; the records before it are kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from liftray import limits
from liftray.data.formats.lines import BrokenStreamError, Line, read_lines
from liftray.data.validate import MAX_RESIDUES, printable
from liftray.errors import DataError
from liftray.standard_streams import shown

_REMEDY = "give a FASTA file: a line '>name' above each sequence"
_PIR = re.compile(r">\s*(P1|F1|XX|DL|DC|RL|RC|N1|N3);")
_PIR_PROTEINS = frozenset({"P1", "F1", "XX"})
_RESIDUES = re.compile("[ACDEFGHIKLMNPQRSTVWYX]{20,}")
_NOT_A_LETTER = re.compile(r"[^A-Za-z]")


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain to predict.

    Attributes:
        id: First word of its header, or `unnamed_N`.
        sequence: (L,) upper-case letters A-Z, L >= 1.
        file: The file it came from.
        line: Line of its header, from 1.
        description: Text after the id in the header, in one line; "" where there is none.
    """

    id: str
    sequence: str
    file: str = ""
    line: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class BadChain:
    """One chain that was not predicted, as `errors.jsonl` records it.

    Attributes:
        id: As in `Chain`.
        reason: A short stable code such as `gap`.
        detail: One sentence for a person.
        file: The file it came from; "" where there is none.
        line: Line of its header, from 1; 0 where there is none.
    """

    id: str
    reason: str
    detail: str
    file: str = ""
    line: int = 0


class Flaw(NamedTuple):
    """Why a sequence cannot be predicted: a stable code and a sentence."""

    reason: str
    detail: str


def read(path: str | Path) -> Iterator[Chain | BadChain]:
    """Yield the chains of a FASTA file in order.

    Args:
        path: A text file, compressed or not: see `input_files.open_input`.

    Yields:
        One item for each header line.

    Raises:
        DataError: The file is missing, unreadable, empty or not FASTA; before the first item, never later.
    """
    path = Path(path)
    block: _Block | None = None
    count = 0
    try:
        for line in read_lines(path):
            text = line.text.strip().lstrip("\ufeff").lstrip()
            if block and block.needs_title and not text.startswith(">"):
                block.take_title(text)
            elif text.startswith(">"):
                if block:
                    yield block.finish()
                count += 1
                block = _block(text, count, shown(path), line.number)
            elif text and not text.startswith(";"):
                if block is None:
                    raise DataError(
                        "text before the first '>'", where=f"{path}:{line.number}", remedy=_REMEDY
                    )
                block.add(text, line)
    except BrokenStreamError as broken:
        if block is None:
            raise DataError(
                broken.detail, where=str(path), remedy="copy or download the file again"
            ) from broken
        yield BadChain(block.id, broken.reason, broken.detail, block.file, block.line)
        return
    if block is None:
        raise DataError("no sequences: the file is empty", where=str(path), remedy=_REMEDY)
    yield block.finish()


def tidy(letters: str) -> str | Flaw:
    """Clean the letters of one chain.

    Args:
        letters: Residues in either case, blanks and one final `*` allowed.

    Returns:
        (L,) upper-case letters A-Z, or the reason why it cannot be predicted, with positions from 1.
    """
    sequence = "".join(letters.split()).removesuffix("*")
    if not sequence:
        return Flaw("empty", "no residues")
    if len(sequence) > MAX_RESIDUES:
        return Flaw("too-long", f"over {MAX_RESIDUES} residues")
    bad = _NOT_A_LETTER.search(sequence)
    if bad is None:
        return sequence.upper()
    letter, where = bad.group(), f"at position {bad.start() + 1}"
    if letter == "*":
        return Flaw("stop-codon", f"'*' {where}: give one open reading frame a record")
    if letter in "-.~":
        return Flaw("gap", f"gap {letter!r} {where}: give the sequence, not a row of an alignment")
    if not letter.isascii():
        return Flaw("non-ascii", f"residue {letter!a} {where} is not an ASCII letter")
    return Flaw("unknown-residue", f"{letter!r} {where} is not a letter")


@dataclass(slots=True)
class _Block:
    id: str
    description: str
    file: str
    line: int
    pir: str = ""
    needs_title: bool = False
    _letters: list[str] = field(default_factory=list)
    _size: int = 0

    def take_title(self, text: str) -> None:
        self.needs_title = False
        self.description = _printable(" ".join(text.split()))

    def add(self, text: str, line: Line) -> None:
        # A cut line is far over the limit; later letters are dropped, so that memory stays bounded.
        if self._size <= MAX_RESIDUES:
            letters = "".join(text.split())
            self._letters.append(letters)
            self._size += MAX_RESIDUES if line.cut else 0
            self._size += len(letters)

    def finish(self) -> Chain | BadChain:
        if len(self.id) > limits.ID_CHARACTERS or len(self.description) > limits.HEADER_CHARACTERS:
            flaw = Flaw(
                "bad-id",
                f"an id of {len(self.id):,} and a description of {len(self.description):,} characters; "
                f"{limits.ID_CHARACTERS} and {limits.HEADER_CHARACTERS:,} are the most",
            )
            return BadChain(printable(self.id), *flaw, self.file, self.line)
        # One more than the limit leaves room for a final `*`.
        if self._size > MAX_RESIDUES + 1:
            flaw = Flaw("too-long", f"over {MAX_RESIDUES} residues")
            return BadChain(self.id, *flaw, self.file, self.line)
        letters = "".join(self._letters)
        sequence = _pir(letters, self) if self.pir else tidy(letters)
        if isinstance(sequence, Flaw):
            return BadChain(self.id, *sequence, self.file, self.line)
        return Chain(self.id, sequence, self.file, self.line, self.description)


def _block(line: str, number: int, file: str, at: int) -> _Block:
    pir = _PIR.match(line)
    if pir is None:
        return _Block(*_header(line, number), file, at)
    name, _ = _header(f">{line[pir.end() :]}", number)
    return _Block(name, "", file, at, pir.group(1), needs_title=True)


def _pir(letters: str, block: _Block) -> str | Flaw:
    """The residues of a PIR record: those before `*`; notes may follow it."""
    if block.pir not in _PIR_PROTEINS:
        return Flaw("nucleotides", f"{block.pir!r} marks a nucleic acid in PIR: translate it first")
    residues, end, _ = letters.partition("*")
    if not end:
        return Flaw("bad-pir", f"a header of PIR ('>{block.pir};'), and no '*' ends the sequence")
    if _RESIDUES.fullmatch(block.description):
        return Flaw("bad-pir", "the line after the header, which is the title in PIR, looks like residues")
    return tidy(residues)


def _header(line: str, number: int) -> tuple[str, str]:
    """Id and description of a header line; both are printable and hold no line break."""
    name, _, description = " ".join(line[1:].split()).partition(" ")
    return _printable(name) or f"unnamed_{number}", _printable(description)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
