"""Peptides of known geometry as structure files, and their records."""

import gzip
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import pytest

from liftray.data.formats import dssp, structures
from liftray.data.formats.dssp import mkdssp_version
from liftray.data.formats.names import structure_stem
from liftray.data.records import BadRecord, ProteinRecord

HELIX, POLYPROLINE = (-62.0, -42.0), (-75.0, 145.0)
METHODS = [
    pytest.param(
        "mkdssp", marks=pytest.mark.skipif(mkdssp_version() is None, reason="mkdssp is not installed")
    ),
    "mdtraj",
]
NAMES = {"A": "ALA", "G": "GLY", "P": "PRO", "S": "SER", "M": "MET", "W": "TRP"}
SEQUENCE = "AAGAASAAMAAAWAAASAAG"


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, turn: float) -> np.ndarray:
    """The point at `bond` from c, at `angle` to b and `turn` (dihedral) from a; degrees and Angstrom."""
    angle, turn = np.radians(angle), np.radians(turn)
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    local = [-np.cos(angle), np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)]
    return c + bond * (local[0] * along + local[1] * np.cross(normal, along) + local[2] * normal)


def backbone(angles: Sequence[tuple[float, float]], shift: float = 0.0) -> np.ndarray:
    """(L, 4, 3) N, CA, C, O of a peptide with these (phi, psi), standard bonds and flat peptide planes."""
    n, ca = np.array([0.0, 0, 0]), np.array([1.458, 0, 0])
    c = place(np.array([0.0, 1, 0]), n, ca, 1.525, 111.0, -60.0)
    rows = []
    for i, (_, psi) in enumerate(angles):
        rows.append([n, ca, c, place(n, ca, c, 1.231, 120.5, psi + 180)])
        if i + 1 < len(angles):
            n_next = place(n, ca, c, 1.329, 116.6, psi)
            ca_next = place(ca, c, n_next, 1.458, 121.7, 180.0)
            n, ca, c = n_next, ca_next, place(c, n_next, ca_next, 1.525, 111.0, angles[i + 1][0])
    return np.array(rows) + np.array([shift, 0, 0])


def make(
    atoms_L43: np.ndarray,
    names: Sequence[str],
    chain: str = "A",
    full: Sequence[str] = (),
    atoms: Sequence[str] = dssp.BACKBONE_ATOMS,
) -> gemmi.Structure:
    """A one-chain gemmi structure, numbered from 1; `full` becomes its SEQRES."""
    structure, model, made = gemmi.Structure(), gemmi.Model(1), gemmi.Chain(chain)
    structure.name = "test"
    for i, (name, places) in enumerate(zip(names, atoms_L43, strict=True)):
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(str(i + 1))
        for atom_name, xyz in zip(dssp.BACKBONE_ATOMS, places, strict=True):
            if atom_name in atoms:
                residue.add_atom(atom(atom_name, xyz))
        made.add_residue(residue)
    model.add_chain(made)
    structure.add_model(model)
    structure.setup_entities()
    if full:
        structure.entities[0].full_sequence = list(full)
    return structure


def atom(name: str, xyz: np.ndarray, altloc: str = "\0") -> gemmi.Atom:
    made = gemmi.Atom()
    made.name, made.element, made.altloc = name, gemmi.Element(name[0]), altloc
    made.pos = gemmi.Position(*map(float, xyz))
    return made


def helix(names: Sequence[str] | None = None, **more: object) -> gemmi.Structure:
    names = names or [NAMES[letter] for letter in SEQUENCE]
    return make(backbone([HELIX] * len(names)), names, **more)  # type: ignore[arg-type]


def save(structure: gemmi.Structure, path: Path) -> Path:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".pdb":
        structure.write_pdb(str(plain))
    else:
        structure.make_mmcif_document().write_file(str(plain))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def only(path: Path, alphabet: str = "ss9", method: dssp.Method = "mdtraj") -> ProteinRecord | BadRecord:
    (record,) = structures.read(path, alphabet=alphabet, method=method)
    return record


def good(path: Path, alphabet: str = "ss9", method: dssp.Method = "mdtraj") -> ProteinRecord:
    record = only(path, alphabet, method)
    assert isinstance(record, ProteinRecord), record
    return record


def raw_mkdssp(path: Path, scratch: Path) -> dict[str, str]:
    """States by chain as mkdssp itself gives them for the file as it is."""
    out = scratch / "raw.dssp"
    program = shutil.which("mkdssp")
    assert program is not None
    subprocess.run(
        [program, "--quiet", "--output-format", "dssp", str(path), str(out)], check=True, timeout=120
    )
    rows = out.read_text().partition("  #  RESIDUE")[2].splitlines()[1:]
    states: dict[str, str] = {}
    for row in rows:
        if row[13] != "!":
            states[row[11]] = states.get(row[11], "") + row[16].replace(" ", "L")
    return states


def pdb_lines(
    names: Sequence[str],
    *,
    chain: str = "A",
    first: int = 1,
    shift: float = 0.0,
    record: str = "ATOM",
    segment: str = "",
    altloc: str = "",
    places: np.ndarray | None = None,
) -> list[str]:
    """ATOM lines of a helix, written as programs do: names of four letters reach into column 21."""
    atoms_L43 = backbone([HELIX] * len(names), shift) if places is None else places
    lines = []
    for i, (name, xyz_43) in enumerate(zip(names, atoms_L43, strict=True)):
        residue = f"{name:<4}" if len(name) > 3 else f"{name:>3} "
        for atom_name, (x, y, z) in zip(dssp.BACKBONE_ATOMS, xyz_43, strict=True):
            number = str(first + i)
            lines.append(
                f"{record:<6}{1:5d}  {atom_name:<3}{altloc:1}{residue}{chain:1}{number:>4}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00      {segment:<4}{atom_name[0]:>2}"
            )
    return lines


def one_atom(name: str, residue: str, number: int, *, chain: str = "", record: str = "ATOM") -> str:
    """A line of a single atom, such as an ion or the oxygen of a water."""
    name_4 = f"{residue:<4}" if len(residue) > 3 else f"{residue:>3} "
    return f"{record:<6}{1:5d} {name:<4} {name_4}{chain:1}{number:4d}    {50.0:8.3f}{number:8.3f}{0.0:8.3f}"


def write_lines(path: Path, *parts: Sequence[str] | str, ending: str = "\n") -> Path:
    """Write lines, or lists of lines, as a file."""
    lines = [line for part in parts for line in ([part] if isinstance(part, str) else part)]
    path.write_bytes(ending.join([*lines, ""]).encode("ascii"))
    return path


def chains_of(path: Path, method: dssp.Method = "mdtraj") -> dict[str, str]:
    """Id without the file's stem and sequence of each record; the reason of a quarantined one."""
    found: dict[str, str] = {}
    for record in structures.read(path, alphabet="ss9", method=method):
        name = record.id.removeprefix(structure_stem(path.name)).removeprefix("_")
        assert name not in found
        found[name] = record.sequence if isinstance(record, ProteinRecord) else record.reason
    return found
