"""Atoms in file order to runs of residues: where one chain ends and the next one starts.

Invariant: each backbone atom of the first model is in exactly one residue of one run, or belongs to what is no residue
of a protein. Two copies of a chain are never joined, and no atom of one replaces an atom of the other. Flow: `pdb` or
`mmcif` -> [this] -> `chains`.

A run ends

- where the file says so: another chain, END, TER. A TER between residues that a peptide bond joins is none: programs
  write it wherever numbers jump;
- where an atom comes that the chain already has, in a residue that was complete: a second copy begins;
- where numbers go back, or the segment changes, and no peptide bond joins the two residues. This does not apply where
  the file states the chain's full sequence, because that decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from liftray import limits
from liftray.data.formats.structures.residue_names import Kind, is_standard, kind

BACKBONE = ("N", "CA", "C", "O")
MAX_PEPTIDE_BOND = 2.5
"""Angstrom; a longer distance from C to N is a chain break to DSSP."""
_MAX_TWINS = 8

Point = tuple[float, float, float]


@dataclass(slots=True, eq=False)
class Residue:
    """One observed residue.

    Attributes:
        name: As the file spells it, in upper case.
        number: The author's number with its insertion code.
        row: Row in the full sequence as the file states it, from 0; None where it does not.
        hetero: Whether all atoms so far are HETATM records.
        segment: The segment's name, or "".
        member: Whether the file states that it is a residue of a polypeptide.
        atoms: Positions of the backbone atoms, in Angstrom. Of alternative ones the last counts.
        twins: Backbone atoms of other residues at the same place (microheterogeneity), by name.
        places: The backbone atoms that were met, each with its alternative location.
    """

    name: str
    number: str
    row: int | None
    hetero: bool
    segment: str
    member: bool = False
    atoms: dict[str, Point] = field(default_factory=dict)
    twins: dict[str, dict[str, Point]] = field(default_factory=dict)
    places: str = ""


@dataclass(slots=True, eq=False)
class Run:
    """Consecutive residues of one chain.

    Attributes:
        chain: The author's chain name; may be blank.
        asym: What mkdssp takes as the chain's identity.
        full: Residue names of the full polymer, `A,B` for alternatives; empty where the file has none.
        after_ter: Whether TER closed an earlier run of this chain.
        part: Number of END records before it.
        residues: In file order.
    """

    chain: str
    asym: str
    full: Sequence[str] = ()
    after_ter: bool = False
    part: int = 0
    residues: list[Residue] = field(default_factory=list)


class RunBuilder:
    """Takes atoms in file order and gives runs."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._open: dict[str, Run] = {}
        self._numbers: dict[str, dict[str, Residue]] = {}
        self._closed: set[str] = set()
        self._part = 0
        self._residues = 0

    def add(
        self,
        key: str,
        residue: Residue,
        atom: str,
        altloc: str,
        position: Point,
        *,
        chain: str,
        asym: str,
        full: Sequence[str] = (),
    ) -> None:
        """Take one atom.

        Args:
            key: What atoms of one chain have in common.
            residue: Its residue, without atoms; used if the residue is new.
            atom: Its name.
            altloc: Its alternative location, or "".
            position: In Angstrom.
            chain: The author's chain name.
            asym: Identity of the chain for mkdssp.
            full: The full polymer.

        Raises:
            ValueError: The model has more residues than `limits.STRUCTURE_RESIDUES`.
        """
        place = f"{atom} {altloc}," if atom in BACKBONE else ""
        known = self._find(key, residue, place, altloc)
        if known is None:
            known = self._start(key, residue, chain=chain, asym=asym, full=full)
        known.hetero &= residue.hetero
        if place and known.name == residue.name:
            known.places += place
            known.atoms[atom] = position
        elif known.name != residue.name and (residue.name in known.twins or len(known.twins) < _MAX_TWINS):
            twin = known.twins.setdefault(residue.name, {})
            if place:
                twin[atom] = position

    def close(self, key: str) -> None:
        """TER: what follows in this chain is another molecule."""
        if self._open.pop(key, None) is not None:
            self._closed.add(key)

    def end(self) -> None:
        """END or ENDMDL between atoms: all chains are closed."""
        self._open.clear()
        self._closed.clear()
        self._part += 1

    def runs(self) -> list[Run]:
        """The runs of the first model that hold residues of proteins, in file order."""
        found: list[Run] = []
        for run in _first_frame(self._runs):
            run.residues = _polymer(run)
            if not run.residues or (run.after_ter and all(one.hetero for one in run.residues)):
                continue
            if run.after_ter and found and _continues(found[-1], run):
                found[-1].residues += run.residues
            else:
                found += [run] if run.full else _split(run)
        return found

    def _find(self, key: str, residue: Residue, place: str, altloc: str) -> Residue | None:
        """The residue that an atom belongs to; None where it starts a new one, in this run or in the next."""
        run = self._open.get(key)
        known = self._numbers[key].get(residue.number) if run else None
        if run is None or known is None:
            return None
        if known.name != residue.name:
            # Two residues share a place only as alternatives.
            restart = not altloc
        else:
            restart = bool(place) and known is not run.residues[-1] and place in known.places
        if restart:
            del self._open[key]
            return None
        return known

    def _start(self, key: str, residue: Residue, *, chain: str, asym: str, full: Sequence[str]) -> Residue:
        run = self._open.get(key)
        if run is None:
            run = Run(chain, asym, full, key in self._closed, self._part)
            self._runs.append(run)
            self._open[key], self._numbers[key] = run, {}
        self._residues += 1
        if self._residues > limits.STRUCTURE_RESIDUES:
            raise ValueError(f"over {limits.STRUCTURE_RESIDUES:,} residues in the first model")
        run.residues.append(residue)
        self._numbers[key][residue.number] = residue
        return residue


def bonded(first: Residue, second: Residue) -> bool:
    """Whether a peptide bond can join C of the first to N of the second."""
    c, n = first.atoms.get("C"), second.atoms.get("N")
    return c is not None and n is not None and bool(np.linalg.norm(np.subtract(c, n)) <= MAX_PEPTIDE_BOND)


def _continues(before: Run, run: Run) -> bool:
    """Whether a run is the rest of the one before it: same chain, bonded to it, with higher numbers."""
    same = (before.chain, before.asym, before.part) == (run.chain, run.asym, run.part)
    last, first = before.residues[-1], run.residues[0]
    return same and bonded(last, first) and _number(first) > _number(last)


def _first_frame(runs: list[Run]) -> list[Run]:
    """Leave out later frames: parts after END that repeat the chains, numbers and names of the first part."""
    parts: dict[int, list[Run]] = {}
    for run in runs:
        parts.setdefault(run.part, []).append(run)
    frames = [[_identity(run) for run in part] for part in parts.values()]
    kept = [part for i, part in enumerate(parts.values()) if not i or frames[i] != frames[0]]
    return [run for part in kept for run in part]


def _identity(run: Run) -> tuple[str, tuple[tuple[str, str], ...]]:
    return run.chain, tuple((one.number, one.name) for one in run.residues)


def _polymer(run: Run) -> list[Residue]:
    """The residues of the protein: amino acids, and other names only where a peptide bond holds them in the chain.

    An amino acid of the genetic code in HETATM records without such a bond is a ligand.
    """
    stated = {name for names in run.full for name in names.split(",")}
    kept: list[Residue] = []
    for i, one in enumerate(run.residues):
        free = kind(one.name) is Kind.UNKNOWN or (one.hetero and is_standard(one.name))
        if free and one.name not in stated and not one.member:
            before = i > 0 and bonded(run.residues[i - 1], one)
            after = i + 1 < len(run.residues) and bonded(one, run.residues[i + 1])
            whole = all(atom in one.atoms for atom in BACKBONE)
            if not (whole and (before or after)):
                continue
        kept.append(one)
    return kept


def _split(run: Run) -> list[Run]:
    """Part a run where numbers go back or the segment changes without a peptide bond."""
    parts = [run.residues[:1]]
    for before, one in zip(run.residues[:-1], run.residues[1:], strict=True):
        back = _number(one) < _number(before) or one.segment != before.segment
        if back and not bonded(before, one):
            parts.append([])
        parts[-1].append(one)
    return [Run(run.chain, run.asym, run.full, run.after_ter, run.part, part) for part in parts]


def _number(residue: Residue) -> int:
    """The author's number without insertion code; very large where it is not written as digits (hybrid-36)."""
    digits = residue.number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ")
    try:
        return int(digits)
    except ValueError:
        return 1 << 40
