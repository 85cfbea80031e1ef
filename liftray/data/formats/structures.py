"""Structure files: mmCIF, BinaryCIF and PDB, plain or gzip; labels are computed, not read.

Invariant: each protein chain of the first model gives one ProteinRecord or one BadRecord; a file without any
gives one BadRecord. Flow: structure file -> [this, dssp for the states] -> validate -> ingest.

Decisions:
- The id is FILESTEM_CHAIN with the author's chain name, as PDB users and mkdssp name chains. A second protein
  under the same name (rare) gets `-2` after it. A blank name becomes that of the segment, or `A`.
- Where the file has the full polymer (SEQRES, entity_poly_seq), that is the sequence, and residues without
  coordinates are labelled `X`: the model sees the chain as a user would give it. Otherwise the sequence is
  that of the observed residues.
- Alternative conformations: the last one listed is taken, because mkdssp does so and labels must be those
  that it gives for the file. Of two residues at one place (microheterogeneity) the first names the residue.
- Modified residues are written as their parent (MSE -> M) by gemmi's table, unknown ones as `X`. A residue that
  lacks N, CA, C or O is labelled `X`.
- States are assigned to all chains of the model together, so bridges between chains count. Assemblies are
  not built.

| reason                   | the file or chain                                                       |
|--------------------------|-------------------------------------------------------------------------|
| `unreadable-structure`   | is damaged or not of the format of its extension                        |
| `no-protein-chain`       | holds no polypeptide (DNA, a ligand, water)                             |
| `too-few-residues`       | has under two residues with a whole backbone (a C-alpha trace, a stub)  |
| `seqres-mismatch`        | has observed residues that do not fit its own full sequence             |
| `dssp-failed`            | made mkdssp end with an error                                           |
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from liftray import limits
from liftray.data.formats.binarycif import decode_block
from liftray.data.formats.dssp import BACKBONE_ATOMS, ChainBackbone, DsspError, Method, assign_states
from liftray.data.formats.names import plain_name
from liftray.data.labels import check_alphabet, map_string
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError
from liftray.input_files import check_regular, read_input

_CATEGORIES = (
    "_entry",
    "_atom_site",
    "_entity",
    "_entity_poly",
    "_entity_poly_seq",
    "_struct_asym",
    "_exptl",
    "_refine",
)
UNKNOWN_RESIDUE = "X"
# What force fields call residues in their several protonation states; gemmi's table does not list them.
_PROTONATED = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "HIS"),
    **dict.fromkeys(("CYX", "CYM"), "CYS"),
    **{"ASH": "ASP", "GLH": "GLU", "LYN": "LYS"},
}
_PROTEIN = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)


@dataclass(frozen=True, slots=True)
class ProteinChain:
    """One polypeptide of the first model.

    Attributes:
        name: Author's chain name.
        sequence: One-letter residues, (L,): the full polymer where the file has it.
        backbone: The same L residues with their backbone positions, NaN where not observed.
    """

    name: str
    sequence: str
    backbone: ChainBackbone


def read(path: Path, *, alphabet: str, method: Method = "auto") -> Iterator[ProteinRecord | BadRecord]:
    """Yield the protein chains of a structure file, labelled.

    Args:
        path: A file named `.cif`, `.mmcif`, `.bcif`, `.pdb` or `.ent`, with or without `.gz`.
        alphabet: `ss9`, or a poorer one to map to (`dssp` map).
        method: How states are assigned; see `dssp.assign_states`.

    Yields:
        A record for each protein chain, in file order.

    Raises:
        DataError: The file cannot be opened, the alphabet is unknown, or `method` needs a missing program.
    """
    check_alphabet(alphabet)
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    try:
        structure = load(path)
        found = list(protein_chains(structure))
    except DataError:
        raise
    except (ValueError, RuntimeError) as error:
        yield BadRecord(str(path), 0, stem, "unreadable-structure", " ".join(str(error).split())[:300])
        return
    if not found:
        yield BadRecord(str(path), 0, stem, "no-protein-chain", "no polypeptide in the first model")
        return
    chains = [chain for _, chain in found if chain is not None]
    try:
        labels = iter(assign_states([chain.backbone for chain in chains], method))
    except DsspError as error:
        yield BadRecord(str(path), 0, stem, "dssp-failed", str(error))
        return
    for name, chain in found:
        record_id = f"{stem}_{name}"
        if chain is None:
            detail = "observed residues do not fit the chain's own SEQRES or entity_poly_seq"
            yield BadRecord(str(path), 0, record_id, "seqres-mismatch", detail)
            continue
        ss, whole = next(labels), int(chain.backbone.whole.sum())
        if whole < 2:
            detail = f"{whole} residues with N, CA, C and O"
            yield BadRecord(str(path), 0, record_id, "too-few-residues", detail)
            continue
        yield ProteinRecord(record_id, chain.sequence, map_string(ss, "ss9", alphabet), path.name)


def load(path: Path) -> gemmi.Structure:
    """Read a structure file into gemmi, first model only, entities set up.

    Raises:
        DataError: The file cannot be opened.
        ValueError: The content is not of the format of the extension; gemmi may also raise RuntimeError.
    """
    name, data = plain_name(path.name), _read_bytes(path)
    if name.endswith((".pdb", ".ent")):
        structure = gemmi.read_pdb_string(data, max_line_length=_pdb_columns(data))
    else:
        binary = name.endswith(".bcif")
        block = decode_block(data, _CATEGORIES) if binary else _first_block(data.decode("utf-8", "replace"))
        structure = gemmi.make_structure_from_block(block)
    while len(structure) > 1:
        del structure[-1]
    structure.merge_chain_parts()
    for model in structure:
        _name_blank_chains(model)
    structure.setup_entities()
    structure.assign_label_seq_id()
    return structure


def _pdb_columns(data: bytes) -> int:
    """How many columns to read: before 1996, columns 73 to 80 held the entry's name and a line number."""
    header = data[:80]
    return (
        72 if header.startswith(b"HEADER") and header[62:66].strip() and header[62:66] == header[72:76] else 0
    )


def _name_blank_chains(model: gemmi.Model) -> None:
    """Name chains without a name by their segment (files of simulations), else by the first free letter."""
    if all(chain.name.strip() for chain in model):
        return
    model.split_chains_by_segments(gemmi.HowToNameCopiedChain.Dup)
    taken = {chain.name for chain in model}
    for chain in model:
        if not chain.name.strip():
            chain.name = next(
                letter for letter in string.ascii_uppercase + string.ascii_lowercase if letter not in taken
            )
            taken.add(chain.name)


def protein_chains(structure: gemmi.Structure) -> Iterator[tuple[str, ProteinChain | None]]:
    """Yield name and content of each polypeptide; None where residues and full sequence do not fit."""
    seen: dict[str, int] = {}
    for chain in structure[0] if len(structure) else ():
        for polymer in chain.subchains():
            entity = structure.get_entity_of(polymer)
            if entity is None or entity.polymer_type not in _PROTEIN:
                continue
            name = chain.name
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name = f"{name}-{seen[name]}"
            yield name, _protein_chain(name, polymer, entity.full_sequence)


def _protein_chain(name: str, polymer: gemmi.ResidueSpan, full: list[str]) -> ProteinChain | None:
    """Place the observed residues in the full sequence; None where they do not fit it.

    Args:
        name: Author's chain name.
        polymer: The observed residues.
        full: L residue names of the full polymer, `A,B` for alternatives at one place; empty where the file has none.
    """
    if full:
        rows, names = _rows_in(polymer, full), [gemmi.Entity.first_mon(mon) for mon in full]
        if rows is None:
            return None
    else:
        places = [residue.seqid for residue in polymer]
        new = [here != before for here, before in zip(places[1:], places[:-1], strict=True)]
        rows = [0, *np.cumsum(new, dtype=int).tolist()]
        names = [polymer[rows.index(row)].name for row in range(rows[-1] + 1)]
    atoms_L43 = np.full((len(names), len(BACKBONE_ATOMS), 3), np.nan)
    for row, residue in zip(rows, polymer, strict=True):
        for atom in residue:
            if atom.name in BACKBONE_ATOMS:
                atoms_L43[row, BACKBONE_ATOMS.index(atom.name)] = atom.pos.tolist()
    return ProteinChain(name, "".join(map(one_letter, names)), ChainBackbone(tuple(names), atoms_L43))


def _rows_in(polymer: gemmi.ResidueSpan, full: list[str]) -> list[int] | None:
    """Row of each observed residue in the full sequence; None where one does not fit.

    PDB files name one residue only where two share a place, so the second goes with the first.
    """
    rows: list[int] = []
    for i, residue in enumerate(polymer):
        row = residue.label_seq - 1 if residue.label_seq else -1
        if 0 <= row < len(full) and residue.name in full[row].split(","):
            rows.append(row)
        elif i and residue.seqid == polymer[i - 1].seqid:
            rows.append(rows[-1])
        else:
            return None
    return rows


def one_letter(residue: str) -> str:
    """The one-letter code of a residue, of its parent if modified, `X` if it has neither."""
    letter: str = gemmi.find_tabulated_residue(_PROTONATED.get(residue, residue)).one_letter_code
    return letter.strip().upper() or UNKNOWN_RESIDUE


def _first_block(text: str) -> gemmi.cif.Block:
    document = gemmi.cif.read_string(text)
    if not len(document):
        raise ValueError("no data block")
    return document[0]


def _read_bytes(path: Path) -> bytes:
    """The file's bytes, inflated; ValueError where they are damaged, packed in another way, over the limit or none."""
    check_regular(path)
    try:
        data = read_input(path, max_bytes=limits.STRUCTURE_BYTES)
    except DataError as error:
        raise ValueError(error.what) from error
    if not data.strip():
        raise ValueError("the file is empty")
    return data
