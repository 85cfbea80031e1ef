"""PDB files, as the archive has them and as programs write them, line by line.

Invariant: every ATOM and HETATM line of the first model is read in its fixed columns or refused with its number. Flow:
lines -> [this] -> `runs`.

Decisions: gemmi's reader is not used, because it stops at END, joins residues of equal number, and takes the fourth
letter of a residue's name for a chain. END only parts chains; what follows the first model (a second MODEL record) is
not read. A residue name may have four letters (columns 18 to 21). Column 21 belongs to the chain's name where, for any
residue of the file, this leaves an amino acid and four letters mean nothing.
"""

import math
from collections.abc import Callable, Iterable

from liftray import limits
from liftray.data.formats.structures.residue_names import Kind, kind
from liftray.data.formats.structures.runs import BACKBONE, Residue, Run, RunBuilder

_NOT_RESIDUES = (Kind.NUCLEOTIDE, Kind.OTHER)


def read_pdb(lines: Callable[[], Iterable[str]]) -> list[Run]:
    """Read the first model.

    Args:
        lines: Gives the file's lines from the start, with or without their endings.

    Returns:
        The runs of protein residues, in file order.

    Raises:
        ValueError: A coordinate is no number, or the file is over a limit.
    """
    try:
        return _Pdb(wide_chains=False).read(lines())
    except _WideChainsError:
        return _Pdb(wide_chains=True).read(lines())


class _WideChainsError(Exception):
    """Column 21 holds letters of chain names."""


class _Pdb:
    """The state of reading one file."""

    def __init__(self, *, wide_chains: bool) -> None:
        self._wide_chains = wide_chains
        self._builder = RunBuilder()
        self._full: dict[str, list[str]] = {}
        self._stated: dict[str, set[str]] = {}
        self._model = 0
        self._atoms = 0
        self._columns = 80
        self._last: tuple[str, str, str] | None = None
        self._residue: Residue | None = None

    def read(self, lines: Iterable[str]) -> list[Run]:
        for number, line in enumerate(lines, start=1):
            record = line[:6].rstrip().upper()
            if record in ("ATOM", "HETATM"):
                self._atom(line, number, hetero=record == "HETATM")
            elif record == "SEQRES":
                self._seqres(line)
            elif record[:3] == "TER" and record.rstrip("0123456789") == "TER":
                self._ter(line)
            elif record == "MODEL":
                self._model += 1
                if self._model > 1 and self._atoms:
                    break
            elif record in ("END", "ENDMDL"):
                self._builder.end()
                self._residue = self._last = None
            elif record == "HEADER" and line[62:66].strip() and line[62:66] == line[72:76]:
                self._columns = 72  # before 1996, columns 73 to 80 held the entry's name and a line number
        return self._builder.runs()

    def _seqres(self, line: str) -> None:
        chain, names = line[10:12].strip(), line[19:70].upper().split()
        self._full.setdefault(chain, []).extend(names)
        others = {name for name in names if kind(name) is Kind.OTHER}
        self._stated.setdefault(chain, set()).update(others)

    def _atom(self, line: str, number: int, *, hetero: bool) -> None:
        self._atoms += 1
        if self._atoms > limits.STRUCTURE_ATOMS:
            raise ValueError(f"over {limits.STRUCTURE_ATOMS:,} atoms")
        name, chain = self._names(line)
        segment = line[72:76].strip() if self._columns > 72 else ""
        if kind(name) in _NOT_RESIDUES and name not in self._stated.get(chain, ()):
            return
        atom, key = line[12:16].strip().upper(), chain or f" {segment}"
        here = (key, line[22:27], name)
        if here != self._last or self._residue is None or atom in BACKBONE:
            self._residue = Residue(name, line[22:27].strip(), None, hetero, segment)
            self._last = here
            position = _position(line, number) if atom in BACKBONE else (math.nan,) * 3
            full = self._full.get(chain, ())
            self._builder.add(
                key,
                self._residue,
                atom,
                line[16:17].strip(),
                position,
                chain=chain or segment,
                asym=chain,
                full=full,
            )

    def _ter(self, line: str) -> None:
        """Close the chain that TER names, or that of the atom before it where TER names none."""
        key = line[20 if self._wide_chains else 21 : 22].strip() or (self._last[0] if self._last else "")
        self._builder.close(key)
        self._residue = self._last = None

    def _names(self, line: str) -> tuple[str, str]:
        """Name of the residue and of the chain."""
        three, four = line[17:20].strip().upper(), line[17:21].strip().upper()
        if three == four or kind(three) is not Kind.PROTEIN:
            return four, line[21:22].strip()
        if self._wide_chains:
            return three, line[20:22].strip()
        if kind(four) is Kind.UNKNOWN:
            raise _WideChainsError
        return four, line[21:22].strip()


def _position(line: str, number: int) -> tuple[float, float, float]:
    try:
        if "_" in line[30:54]:  # Python reads 1_0 as ten
            raise ValueError("an underscore")
        return float(line[30:38]), float(line[38:46]), float(line[46:54])
    except ValueError as error:
        raise ValueError(f"line {number}: no number in the coordinates {line[30:54].rstrip()!r}") from error
