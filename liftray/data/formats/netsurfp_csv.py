"""NetSurfP-style CSV: one residue a row (NetSurfP's output), or one chain a row (its data sets, and FLIP's).

Invariant: a run of residue rows of one chain gives one ProteinRecord or one BadRecord; the run is all that is
in memory. Flow: delimited -> [this] -> validate -> ingest.

Residue form: columns `id`, `seq` (or `aa`, `residue`), `n`, and `q3` or `q8`; `n` counts from 1, and a
new chain starts where it is 1 again. Format rules: NetSurfP writes the FASTA header's `>` into the id, which is
removed, and coil `C` in q8, which reads as `L`. One bad row makes its whole chain bad: a chain
with a hole is not that chain.

Chain form: `input,dssp3,dssp8,disorder` or `sequence,target,set,validation`; `table` reads it. A FLIP file
with both parts of its `set` is refused; its `validation` is not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from liftray.data.formats import table
from liftray.data.formats.delimited import Header, Row, read_header, read_rows
from liftray.data.formats.lines import no_records
from liftray.data.records import BadRecord, ProteinRecord
from liftray.data.validate import MAX_RESIDUES
from liftray.errors import DataError

_RESIDUE_NAMES = ("seq", "aa", "residue")


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a NetSurfP-style CSV file, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: `ss3` reads q3, `ss8` reads q8.

    Yields:
        A record for each chain, in file order.

    Raises:
        DataError: The file cannot be read, is empty, or lacks a column.
    """
    header = read_header(path)
    if not is_residue_form(header.names):
        yield from table.read(path, alphabet=alphabet)
        return
    label = "q" + alphabet[-1]
    if label not in header.names:
        has = " and ".join(name for name in ("q3", "q8") if name in header.names)
        raise DataError(
            f"no column {label!r}", where=str(path), remedy=f"it has {has}: choose --alphabet to fit"
        )
    chain: _Chain | None = None
    for row in read_rows(path, header):
        residue = _residue(row, header, label)
        if chain is None or residue.id != chain.id or residue.number == 1:
            if chain:
                yield chain.finish(path)
            chain = _Chain(residue.id, residue.line)
        chain.add(residue)
    if chain is None:
        raise no_records(path)
    yield chain.finish(path)


def declared_alphabet(path: Path) -> str | None:
    """`ss8` where there is a q8 column, else `ss3`; the chain form as `table` declares it."""
    names = read_header(path).names
    if is_residue_form(names):
        return "ss8" if "q8" in names else "ss3"
    return table.declared_alphabet(path)


def is_residue_form(names: list[str]) -> bool:
    """Whether the columns are those of one residue a row."""
    one_letter = any(name in names for name in _RESIDUE_NAMES)
    return "id" in names and one_letter and "n" in names and ("q3" in names or "q8" in names)


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

    def finish(self, path: Path) -> ProteinRecord | BadRecord:
        if self.bad:
            return BadRecord(str(path), self.line, self.id, self.bad.reason, self.bad.detail)
        return ProteinRecord(self.id, "".join(self.residues), "".join(self.states), path.name, self.line)

    def _refuse(self, residue: _Residue, reason: str, detail: str) -> None:
        self.bad = BadRecord("", residue.line, self.id, reason, f"line {residue.line}: {detail}")


def _residue(row: Row | BadRecord, header: Header, label: str) -> _Residue:
    if isinstance(row, BadRecord):
        return _Residue(row.id.removeprefix(">"), row.line, bad=row)
    cells = dict(zip(header.names, row.cells, strict=True))
    letter = next(cells[name] for name in _RESIDUE_NAMES if name in cells)
    number = int(cells["n"]) if cells["n"].isdecimal() and len(cells["n"]) < 9 else None
    state = "L" if label == "q8" and cells[label] == "C" else cells[label]
    return _Residue(cells["id"].removeprefix(">"), row.line, number, letter, state)
