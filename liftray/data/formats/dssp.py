"""Nine secondary-structure states from backbone coordinates: by mkdssp where installed, else by mdtraj.

Invariant: every residue with a whole backbone (N, CA, C, O) gets one of `L B E G I H S T P`, and every other gets `X`.
Both methods read the same coordinates and nothing else. Flow: structures -> [this] -> labels of a record. States are
those of Kabsch & Sander (1983); P is the polyproline helix of mkdssp 4 (Hekkelman et al. 2025).
"""

import re
import shutil
import string
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt

from liftray import limits
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
        asym: What the chain has in common with others that are one to DSSP; None if nothing.
        twins: Row, name and (4, 3) positions of each further residue at the place of one of the L. mkdssp takes
            them for neighbours in the chain, so they change the states around them.
    """

    residues: tuple[str, ...]
    atoms_L43: npt.NDArray[np.float64]
    asym: str | None = None
    twins: tuple[tuple[int, str, npt.NDArray[np.float64]], ...] = ()

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
    order = _by_asym(chains)
    given = [one for i in order for one in _whole_residues(i, chains[i])]
    if len(given) > limits.MKDSSP_RESIDUES:
        most = limits.MKDSSP_RESIDUES
        raise DsspError(f"{len(given)} residues in the model; mkdssp is given {most} at most")
    letters = {
        (one.chain, one.row): state
        for one, state in zip(reversed(given), reversed(_run_mkdssp(chains, given)), strict=True)
    }
    return [
        "".join(letters[i, row] if whole else UNLABELLED for row, whole in enumerate(chain.whole))
        for i, chain in enumerate(chains)
    ]


class _Given(NamedTuple):
    """A residue as mkdssp gets it: indices of its chain and row, name, (4, 3) positions."""

    chain: int
    row: int
    name: str
    xyz_43: Points


def _whole_residues(index: int, chain: ChainBackbone) -> list[_Given]:
    """The residues with whole backbones, and after each one its twins."""
    own = [_Given(index, int(i), chain.residues[i], chain.atoms_L43[i]) for i in np.flatnonzero(chain.whole)]
    twins = [_Given(index, row, name, xyz_43) for row, name, xyz_43 in chain.twins]
    return sorted([*own, *twins], key=lambda one: one.row)


def _run_mkdssp(chains: Sequence[ChainBackbone], given: Sequence[_Given]) -> list[str]:
    """The state of each residue that mkdssp is given."""
    timeout_s = 120 + 0.1 * len(given)
    with tempfile.TemporaryDirectory(prefix="liftray-dssp-") as folder:
        source, result = Path(folder, "in.cif"), Path(folder, "out.dssp")
        _minimal_mmcif(chains, given).write_file(str(source))
        # The classic format: the mmCIF writer of 4.2 stops on some sheets with a duplicate key.
        command = ["mkdssp", "--quiet", "--output-format", "dssp", str(source), str(result)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise DsspError(f"mkdssp took more than {timeout_s:.0f} s") from error
        if ended.returncode or not result.exists():
            raise DsspError(f"mkdssp ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")
        states = _read_classic(result.read_text(encoding="ascii", errors="replace"))
    if len(states) != len(given):
        raise DsspError(f"mkdssp gave {len(states)} states for {len(given)} residues with a whole backbone")
    return states


def _by_asym(chains: Sequence[ChainBackbone]) -> list[int]:
    """Indices of the chains as DSSP orders them: those of one identity together, by first appearance."""
    first: dict[str | int, int] = {}
    keys = [first.setdefault(_identity(chain, i), i) for i, chain in enumerate(chains)]
    return sorted(range(len(chains)), key=keys.__getitem__)


def _identity(chain: ChainBackbone, index: int) -> str | int:
    return index if chain.asym is None else chain.asym


def _read_classic(text: str) -> list[str]:
    """States in file order from DSSP's classic format: residue number in columns 6-10, state in column 17."""
    _, _, table = text.partition("  #  RESIDUE AA STRUCTURE")
    rows = [line for line in table.splitlines()[1:] if len(line) > 16 and line[13] != "!"]
    return [row[16].replace(" ", "L") for row in rows]


def _minimal_mmcif(chains: Sequence[ChainBackbone], given: Sequence[_Given]) -> gemmi.cif.Document:
    """Write the whole backbones as the least mmCIF that mkdssp reads.

    Each chain keeps its identity, because DSSP lets no helix, bend or bulge pass from one to another. The classic
    output has only one letter for it, so the letters come again after 62 chains; residue numbers never do. Residues
    go in as PRO, GLY or ALA, because DSSP looks at no side chain and mkdssp stops at names that it does not know.
    mkdssp looks for the atoms of each residue among all atoms, by `auth_asym_id` first: one for each residue makes
    this three times as fast.
    """
    scheme: list[list[str]] = []
    atoms: list[list[str]] = []
    asyms: dict[str | int, str] = {}
    first = _first_numbers(chains, given)
    before: tuple[int, int] | None = None
    used: set[str] = set()
    for index, row, name, xyz_43 in given:
        asym = asyms.setdefault(_identity(chains[index], index), _ASYMS[len(asyms) % len(_ASYMS)])
        number = str(first[index] + row)
        if before != (index, row):
            used = set()
        # Twins differ by their names alone.
        name = next(one for one in (name if name in _KEPT else "ALA", *_NAMES) if one not in used)
        used.add(name)
        before = index, row
        shown = str((first[index] + row) % 10_000)
        scheme.append([asym, "1", number, name, number, shown, shown, name, name, number, ".", "n"])
        for atom, position in zip(BACKBONE_ATOMS, xyz_43.tolist(), strict=True):
            head = [number, "ATOM", str(len(atoms) + 1), atom[0], atom, ".", name, asym, "1", number, "?"]
            atoms.append([*head, *(f"{x:.6f}" for x in position), "1", "0", shown, "1"])
    document = gemmi.cif.Document()
    block = document.add_new_block("liftray")
    block.set_pair("_entry.id", "liftray")
    _loop(block, "entity", "id type", [["1", "polymer"]])
    _loop(block, "entity_poly", "entity_id type pdbx_strand_id", [["1", "'polypeptide(L)'", "A"]])
    _loop(block, "struct_asym", "id entity_id", [[asym, "1"] for asym in dict.fromkeys(asyms.values())])
    polymer = [["1", number, name, "n"] for _, _, number, name, *_ in scheme]
    _loop(block, "entity_poly_seq", "entity_id num mon_id hetero", polymer)
    _loop(block, "pdbx_poly_seq_scheme", _SCHEME, scheme)
    _loop(block, "atom_site", _ATOM_SITE, atoms)
    return document


def _first_numbers(chains: Sequence[ChainBackbone], given: Sequence[_Given]) -> dict[int, int]:
    """Number of the first residue of each chain: they go on from chain to chain."""
    first: dict[int, int] = {}
    following = 1
    for index in dict.fromkeys(one.chain for one in given):
        first[index] = following
        following += len(chains[index].residues)
    return first


_KEPT = ("PRO", "GLY")
_NAMES = (
    "ALA",
    "SER",
    "THR",
    "CYS",
    "ASP",
    "ASN",
    "GLU",
    "GLN",
    "LYS",
    "ARG",
    "HIS",
    "PHE",
    "TYR",
    "TRP",
    "MET",
    "ILE",
)
_ASYMS = string.ascii_uppercase + string.ascii_lowercase + string.digits
_SCHEME = (
    "asym_id entity_id seq_id mon_id ndb_seq_num pdb_seq_num auth_seq_num pdb_mon_id auth_mon_id "
    "pdb_strand_id pdb_ins_code hetero"
)
_ATOM_SITE = (
    "auth_asym_id group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id "
    "label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id "
    "pdbx_PDB_model_num"
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
