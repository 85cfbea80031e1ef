"""NetSurfP-style CSV: one residue a row (NetSurfP's output), or one chain a row (its data sets, and FLIP's).

Invariant: a run of residue rows of one chain gives one ProteinRecord or one BadRecord; the run is all that is
in memory. Flow: delimited -> [this] -> validate -> ingest.

Residue form: columns `id`, `seq` (or `aa`, `residue`), `n`, and `q3`, `q8` or `q9`; `n` counts from 1, and a
new chain starts where it is 1 again. Format rules: NetSurfP writes the FASTA header's `>` into the id, which is
removed, and coil `C` in q8, which reads as `L`. One bad row makes its whole chain bad: a chain
with a hole is not that chain. Rows of one chain in two places make it bad too (`rows-apart`), so the file is read
twice: the first pass keeps 16 bytes a chain. Nine states are read from `q8` where there is no `q9`.

Chain form: `input,dssp3,dssp8,disorder` or `sequence,target,set,validation`; `table` reads it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from liftray.data.formats import table
from liftray.data.formats.delimited import Header, Row, read_header, read_rows
from liftray.data.formats.lines import no_records
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord
from liftray.data.validate import MAX_RESIDUES
from liftray.errors import DataError

_RESIDUE_NAMES = ("seq", "aa", "residue")
_STATE_NAMES = ("q9", "q8", "q3")


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a NetSurfP-style CSV file, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: `ss3` reads q3, `ss8` reads q8, `ss9` reads q9 or else q8.

    Yields:
        A record for each chain, in file order.

    Raises:
        DataError: The file cannot be read, is empty, or lacks a column.
    """
    header = read_header(path)
    if not is_residue_form(header.names):
        yield from table.read(path, alphabet=alphabet)
        return
    label = _label_column(header, alphabet, path)
    apart = _apart(_residues(path, header, label))
    reported: set[bytes] = set()
    chain: _Chain | None = None
    for residue in _residues(path, header, label):
        if chain is None or residue.id != chain.id or residue.number == 1:
            if chain:
                yield from chain.finish(path, label, apart, reported)
            chain = _Chain(residue.id, residue.line)
        chain.add(residue)
    if chain is None:
        raise no_records(path)
    yield from chain.finish(path, label, apart, reported)


def _label_column(header: Header, alphabet: str, path: Path) -> str:
    wanted = ["q" + alphabet[-1], *(["q8"] if alphabet == "ss9" else [])]
    label = next((name for name in wanted if name in header.names), None)
    if label is None:
        has = " and ".join(name for name in _STATE_NAMES if name in header.names)
        raise DataError(
            f"no column {wanted[0]!r}", where=str(path), remedy=f"it has {has}: choose --alphabet to fit"
        )
    return label


def _apart(residues: Iterator["_Residue"]) -> set[bytes]:
    """Hashes of the ids whose rows lie in several places without starting again at 1 in each."""
    seen: set[bytes] = set()
    headless: set[bytes] = set()
    apart: set[bytes] = set()
    before: str | None = None
    for residue in residues:
        if residue.id == before:
            continue
        before, key = residue.id, _hash(residue.id)
        if residue.number != 1:
            headless.add(key)
        if key in seen and key in headless:
            apart.add(key)
        seen.add(key)
    return apart


def _residues(path: Path, header: Header, label: str) -> Iterator["_Residue"]:
    return (_residue(row, header, label) for row in read_rows(path, header))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def declared_alphabet(path: Path) -> str | None:
    """The richest alphabet that has a column; the chain form as `table` declares it."""
    names = read_header(path).names
    if is_residue_form(names):
        return next(f"ss{name[-1]}" for name in _STATE_NAMES if name in names)
    return table.declared_alphabet(path)


def is_residue_form(names: list[str]) -> bool:
    """Whether the columns are those of one residue a row."""
    one_letter = any(name in names for name in _RESIDUE_NAMES)
    return "id" in names and one_letter and "n" in names and any(name in names for name in _STATE_NAMES)


@dataclass(slots=True)
class _Residue:
    id: str
    line: int
    number: int | None = None
    letter: str = ""
    state: str = ""
    bad: BadRecord | None = None


@dataclass(slots=True)
class _Chain:
    id: str
    line: int
    residues: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    bad: BadRecord | None = None

    def add(self, residue: _Residue) -> None:
        expected = len(self.residues) + 1
        if self.bad:
            return
        if residue.bad:
            self.bad = residue.bad
        elif expected > MAX_RESIDUES:
            self._refuse(residue, "too-long", f"over {MAX_RESIDUES} residues")
        elif residue.number != expected:
            self._refuse(residue, "row-order", f"residue {residue.number} where {expected} should come")
        elif len(residue.letter) != 1 or len(residue.state) != 1:
            self._refuse(
                residue, "malformed-row", f"{residue.letter!r}, {residue.state!r}: not one letter each"
            )
        else:
            self.residues.append(residue.letter)
            self.states.append(residue.state)

    def finish(
        self, path: Path, label: str, apart: set[bytes], reported: set[bytes]
    ) -> Iterator[ProteinRecord | BadRecord]:
        key = _hash(self.id)
        if key in apart:
            if key not in reported:
                reported.add(key)
                detail = "its rows lie in several places of the file"
                yield BadRecord(str(path), self.line, self.id, "rows-apart", detail)
        elif self.bad:
            yield BadRecord(str(path), self.line, self.id, self.bad.reason, self.bad.detail)
        else:
            sequence, ss = "".join(self.residues), "".join(self.states)
            coil = "C" if label == "q8" else ""
            yield WrittenRecord(self.id, sequence, ss, path.name, self.line, coil)

    def _refuse(self, residue: _Residue, reason: str, detail: str) -> None:
        self.bad = BadRecord("", residue.line, self.id, reason, f"line {residue.line}: {detail}")


def _residue(row: Row | BadRecord, header: Header, label: str) -> _Residue:
    if isinstance(row, BadRecord):
        return _Residue(row.id.removeprefix(">"), row.line, bad=row)
    cells = dict(zip(header.names, row.cells, strict=True))
    letter = next(cells[name] for name in _RESIDUE_NAMES if name in cells)
    number = int(cells["n"]) if cells["n"].isdecimal() and len(cells["n"]) < 9 else None
    # An empty cell is a blank label: validation says so, or the user's label map gives it a meaning.
    return _Residue(cells["id"].removeprefix(">"), row.line, number, letter, cells[label] or " ")
