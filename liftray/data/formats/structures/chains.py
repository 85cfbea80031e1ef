"""Runs of residues to protein chains: names, full sequences, backbones.

Invariant: each run gives one chain, which has a name of its own. Flow: `pdb` or `mmcif` -> `runs` -> [this] -> `dssp`.
"""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liftray import limits
from liftray.data.formats.dssp import BACKBONE_ATOMS, ChainBackbone
from liftray.data.formats.structures.placement import place
from liftray.data.formats.structures.residue_names import letter
from liftray.data.formats.structures.runs import Point, Residue, Run

_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class ProteinChain:
    """One polypeptide of the first model.

    Attributes:
        name: Author's chain name, made unique in the file.
        author: Author's chain name as the file has it.
        sequence: One-letter residues, (L,): the full polymer where the file has it.
        backbone: The same L residues with their backbone positions, NaN where not observed.
        places: (L,) the author's number and insertion code of each residue, "" where not observed.
        shared: Rows of places where the file has several residues.
        flaw: Reason and detail why no record can be made of it; None if one can.
    """

    name: str
    author: str
    sequence: str
    backbone: ChainBackbone
    places: tuple[str, ...]
    shared: frozenset[int] = frozenset()
    flaw: tuple[str, str] | None = None


def protein_chains(runs: Sequence[Run]) -> list[ProteinChain]:
    """Make a chain of each run, in file order.

    Raises:
        ValueError: A full sequence is longer than `limits.RESIDUES`.
    """
    placed = list(_placed(runs))
    names = _names([run for run, _ in placed])
    return [_chain(name, run, rows) for name, (run, rows) in zip(names, placed, strict=True)]


def _placed(runs: Sequence[Run]) -> Iterator[tuple[Run, list[int] | None]]:
    """Each run with the rows of its residues; None where they do not fit the full sequence.

    TER also stands at gaps inside a chain, so runs of one chain are joined where all of them fit its full sequence.
    """
    waiting = list(runs)
    while waiting:
        run = waiting.pop(0)
        if not run.full:
            yield run, list(range(len(run.residues)))
            continue
        if len(run.full) > limits.RESIDUES:
            raise ValueError(f"over {limits.RESIDUES:,} residues in the full sequence of a chain")
        same = [other for other in waiting if other.asym == run.asym and other.chain == run.chain]
        joined = [residue for one in (run, *same) for residue in one.residues]
        rows = place(joined, run.full) if same else None
        if rows is not None:
            waiting = [other for other in waiting if other not in same]
            run.residues = joined
            yield run, rows
        else:
            yield run, place(run.residues, run.full)


def _chain(name: str, run: Run, rows: list[int] | None) -> ProteinChain:
    flaw = _flaw(run.residues)
    if rows is None:
        flaw = ("seqres-mismatch", "observed residues do not fit the chain's own SEQRES or entity_poly_seq")
    if rows is None or not run.full:
        rows, names = list(range(len(run.residues))), [residue.name for residue in run.residues]
    else:
        names = [_stated(stated) for stated in run.full]
    places = [""] * len(names)
    atoms_L43 = np.full((len(names), len(BACKBONE_ATOMS), 3), np.nan)
    twins = []
    for row, residue in zip(rows, run.residues, strict=True):
        places[row] = residue.number
        here = {residue.name: residue.atoms, **residue.twins}
        atoms_L43[row] = _positions(here.pop(names[row] if names[row] in here else residue.name))
        twins += [(row, name, _positions(atoms)) for name, atoms in here.items()]
    whole = tuple(twin for twin in twins if np.isfinite(twin[2]).all())
    backbone = ChainBackbone(tuple(names), atoms_L43, run.asym, whole)
    shared = frozenset(row for row, residue in zip(rows, run.residues, strict=True) if residue.twins)
    return ProteinChain(name, run.chain, "".join(map(letter, names)), backbone, tuple(places), shared, flaw)


def _positions(atoms: Mapping[str, Point]) -> npt.NDArray[np.float64]:
    """(4, 3) positions of N, CA, C, O; NaN where one is missing."""
    return np.array([atoms.get(atom, (np.nan,) * 3) for atom in BACKBONE_ATOMS])


def _stated(names: str) -> str:
    """The first of alternative names at one place."""
    return names.split(",")[0]


def _flaw(residues: Sequence[Residue]) -> tuple[str, str] | None:
    """Coordinates that are no measurement: not finite, or several residues that are each one point."""
    points = 0
    for residue in residues:
        values = np.array(list(residue.atoms.values()))
        if not np.isfinite(values).all():
            return "bad-coordinates", f"a coordinate of residue {residue.number} is not finite"
        points += len(values) > 1 and bool((values == values[0]).all())
    if points > 1:
        return "bad-coordinates", f"all backbone atoms lie at one point in each of {points} residues"
    return None


def _names(runs: Sequence[Run]) -> list[str]:
    """Names of the chains: the author's; that of the segment or the first free letter where it is blank.

    A second chain of the same name gets `-2` after it.
    """
    taken = {run.chain for run in runs}
    names: list[str] = []
    free = (one for one in (*_LETTERS, *(f"chain{i}" for i in range(1, len(runs) + 1))) if one not in taken)
    count: dict[str, int] = {}
    for run in runs:
        name = run.chain or next(free)
        count[name] = count.get(name, 0) + 1
        names.append(name if count[name] == 1 else f"{name}-{count[name]}")
    return names
