"""Nine secondary-structure states from backbone coordinates: by mkdssp where installed, else by mdtraj.

Invariant: every residue with a whole backbone (N, CA, C, O) gets one of `L B E G I H S T P`, and every other gets `X`.
Both methods read the same coordinates and nothing else. Flow: structures -> [this] -> labels of a record. States are
those of Kabsch & Sander (1983); P is the polyproline helix of mkdssp 4 (Hekkelman et al. 2025).
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np
import numpy.typing as npt

from liftray.data.labels import UNLABELLED
from liftray.errors import DataError, LiftrayError

Points = npt.NDArray[np.float64]
Method = Literal["auto", "mkdssp", "mdtraj"]
BACKBONE_ATOMS = ("N", "CA", "C", "O")

_OLDEST_MKDSSP = (4,)  # the first release that knows P
_MAX_PEPTIDE_BOND = 2.5  # Angstrom; a longer C-N distance is a chain break to DSSP
_PP_CENTRE, _PP_WIDTH, _PP_RUN = np.array([-75.0, 145.0]), 29.0, 3  # degrees (phi, psi); residues


class DsspError(LiftrayError):
    """The state assignment failed on one structure; others may succeed."""


@dataclass(frozen=True, slots=True)
class ChainBackbone:
    """What DSSP looks at in one chain.

    Attributes:
        residues: L three-letter names, in chain order; only proline matters (it has no amide hydrogen).
        atoms_L43: (L, 4, 3) float64 positions of N, CA, C, O in Angstrom; NaN where an atom is missing.
    """

    residues: tuple[str, ...]
    atoms_L43: npt.NDArray[np.float64]

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        """(L,) true where all four backbone atoms are there."""
        whole: npt.NDArray[np.bool_] = np.all(np.isfinite(self.atoms_L43), axis=(1, 2))
        return whole


def assign_states(chains: Sequence[ChainBackbone], method: Method = "auto") -> list[str]:
    """Assign the nine states to all chains of one model together, so that bridges between chains count.

    Args:
        chains: The protein chains of one model.
        method: `mkdssp`, `mdtraj`, or `auto` (mkdssp where a fit version is installed, else mdtraj).

    Returns:
        One ss9 string a chain, (L,) letters; `X` where the backbone is not whole.

    Raises:
        DataError: `mkdssp` was requested and is not installed or too old.
        DsspError: mkdssp ended with an error on these coordinates.
    """
    if not any(chain.whole.any() for chain in chains):
        return [UNLABELLED * len(chain.residues) for chain in chains]
    version = mkdssp_version() if method != "mdtraj" else None
    fit = version is not None and version >= _OLDEST_MKDSSP
    if method == "mkdssp" and not fit:
        raise DataError(
            f"mkdssp {'.'.join(map(str, version)) if version else 'not found'}",
            remedy="install mkdssp 4 or newer (package dssp), or use mdtraj",
        )
    return _by_mkdssp(chains) if fit else _by_mdtraj(chains)


@cache
def mkdssp_version() -> tuple[int, ...] | None:
    """Version of the mkdssp on PATH, or None where there is none."""
    program = shutil.which("mkdssp")
    if program is None:
        return None
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"version (\d+(?:\.\d+)+)", shown.stdout)
    return tuple(map(int, found.group(1).split("."))) if found else None


def assigner() -> str:
    """Name and version of the program that `assign_states` uses by default, such as `mkdssp 4.4.0`."""
    version = mkdssp_version()
    if version is not None and version >= _OLDEST_MKDSSP:
        return f"mkdssp {'.'.join(map(str, version))}"
    return f"mdtraj {metadata.version('mdtraj')}"


def _by_mkdssp(chains: Sequence[ChainBackbone]) -> list[str]:
    timeout_s = 120 + 0.1 * sum(len(chain.residues) for chain in chains)
    with tempfile.TemporaryDirectory(prefix="liftray-dssp-") as folder:
        given, result = Path(folder, "in.cif"), Path(folder, "out.dssp")
        _minimal_mmcif(chains).write_file(str(given))
        # The classic format: the mmCIF writer of 4.2 stops on some sheets with a duplicate key.
        command = ["mkdssp", "--quiet", "--output-format", "dssp", str(given), str(result)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise DsspError(f"mkdssp took more than {timeout_s:.0f} s") from error
        if ended.returncode or not result.exists():
            raise DsspError(f"mkdssp ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")
        states = _read_classic(result.read_text(encoding="ascii", errors="replace"))
    labels: list[str] = []
    first = 1
    for chain in chains:
        numbers = range(first, first + len(chain.residues))
        labels.append("".join(states.get(number, UNLABELLED) for number in numbers))
        first = numbers.stop
        missed = sum(label == UNLABELLED for label in labels[-1]) - int((~chain.whole).sum())
        if missed:
            raise DsspError(f"mkdssp left {missed} residues with a whole backbone unassigned")
    return labels


def _read_classic(text: str) -> dict[int, str]:
    """States by residue number from DSSP's classic format: number in columns 6-10, state in column 17."""
    _, _, table = text.partition("  #  RESIDUE AA STRUCTURE")
    rows = [line for line in table.splitlines()[1:] if len(line) > 16 and line[13] != "!"]
    return {int(row[5:10]): row[16].replace(" ", "L") for row in rows}


def _minimal_mmcif(chains: Sequence[ChainBackbone]) -> gemmi.cif.Document:
    """Write the whole backbones as the least mmCIF that mkdssp reads.

    All chains are passed as one, with consecutive numbers. The classic output has only one letter for a chain's name,
    and DSSP separates chains by the distance from C to N. Residues go in as PRO, GLY or ALA, because DSSP looks at no
    side chain and mkdssp stops at names that it does not know.
    """
    names = [name for chain in chains for name in chain.residues]
    atoms_L43 = np.concatenate([chain.atoms_L43 for chain in chains])
    scheme: list[list[str]] = []
    atoms: list[list[str]] = []
    for i in np.flatnonzero(np.isfinite(atoms_L43).all(axis=(1, 2))):
        number, name = str(i + 1), names[i] if names[i] in ("PRO", "GLY") else "ALA"
        scheme.append(["A", "1", number, name, number, number, number, name, name, "A", ".", "n"])
        for atom, position in zip(BACKBONE_ATOMS, atoms_L43[i], strict=True):
            head = ["ATOM", str(len(atoms) + 1), atom[0], atom, ".", name, "A", "1", number, "?"]
            atoms.append([*head, *(f"{x:.3f}" for x in position), "1", "0", number, "A", "1"])
    document = gemmi.cif.Document()
    block = document.add_new_block("liftray")
    block.set_pair("_entry.id", "liftray")
    _loop(block, "entity", "id type", [["1", "polymer"]])
    _loop(block, "entity_poly", "entity_id type pdbx_strand_id", [["1", "'polypeptide(L)'", "A"]])
    _loop(block, "struct_asym", "id entity_id", [["A", "1"]])
    polymer = [["1", number, name, "n"] for _, _, number, name, *_ in scheme]
    _loop(block, "entity_poly_seq", "entity_id num mon_id hetero", polymer)
    _loop(block, "pdbx_poly_seq_scheme", _SCHEME, scheme)
    _loop(block, "atom_site", _ATOM_SITE, atoms)
    return document


_SCHEME = (
    "asym_id entity_id seq_id mon_id ndb_seq_num pdb_seq_num auth_seq_num pdb_mon_id auth_mon_id "
    "pdb_strand_id pdb_ins_code hetero"
)
_ATOM_SITE = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id "
    "label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id "
    "auth_asym_id pdbx_PDB_model_num"
)


def _loop(block: gemmi.cif.Block, category: str, tags: str, rows: list[list[str]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    block.init_loop(f"_{category}.", tags.split()).set_all_values(columns)


def _by_mdtraj(chains: Sequence[ChainBackbone]) -> list[str]:
    import mdtraj  # slow to import, and not needed where mkdssp is installed

    topology = mdtraj.Topology()
    positions: list[npt.NDArray[np.float64]] = []
    for chain in chains:
        for segment in _segments(chain):
            part = topology.add_chain()
            for i in segment:
                # The first residue of a segment has no amide hydrogen to DSSP, just as proline has none;
                # mdtraj would place one from whatever residue precedes it in the file.
                name = "PRO" if i == segment[0] or chain.residues[i] == "PRO" else "ALA"
                residue = topology.add_residue(name, part)
                for atom in BACKBONE_ATOMS:
                    topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
                positions.append(chain.atoms_L43[i])
    trajectory = mdtraj.Trajectory(np.concatenate(positions)[None] / 10.0, topology)
    letters = iter(mdtraj.compute_dssp(trajectory, simplified=False)[0].tolist())
    labels = []
    for chain in chains:
        states = [next(letters) if whole else UNLABELLED for whole in chain.whole]
        polyproline = _polyproline(chain)
        labels.append(
            "".join(
                ("P" if polyproline[i] else "L") if state == " " else state for i, state in enumerate(states)
            )
        )
    return labels


def _segments(chain: ChainBackbone) -> list[npt.NDArray[np.intp]]:
    """Row numbers of residues with whole backbones, cut where the peptide bond is too long to be one."""
    rows = np.flatnonzero(chain.whole)
    bond = np.linalg.norm(chain.atoms_L43[rows[1:], 0] - chain.atoms_L43[rows[:-1], 2], axis=1)
    return [part for part in np.split(rows, np.flatnonzero(bond > _MAX_PEPTIDE_BOND) + 1) if part.size]


def _polyproline(chain: ChainBackbone) -> npt.NDArray[np.bool_]:
    """(L,) true where phi and psi are inside the polyproline window for three or more residues in a row."""
    inside = np.zeros(len(chain.residues), dtype=bool)
    found = np.zeros_like(inside)
    for segment in _segments(chain):
        n, ca, c = (chain.atoms_L43[segment, atom] for atom in range(3))
        phi = _dihedral(c[:-2], n[1:-1], ca[1:-1], c[1:-1])
        psi = _dihedral(n[1:-1], ca[1:-1], c[1:-1], n[2:])
        inside[segment[1:-1]] = (np.abs(np.stack([phi, psi], axis=1) - _PP_CENTRE) <= _PP_WIDTH).all(axis=1)
        for start in range(len(segment) - _PP_RUN + 1):
            run = segment[start : start + _PP_RUN]
            found[run] |= inside[run].all()
    return found


def _dihedral(a: Points, b: Points, c: Points, d: Points) -> npt.NDArray[np.float64]:
    """(N,) dihedral angles in degrees, -180 to 180, of four (N, 3) point arrays."""
    axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    first, last = np.cross(a - b, axis), np.cross(d - c, axis)
    return np.degrees(np.arctan2((np.cross(axis, first) * last).sum(1), (first * last).sum(1)))
