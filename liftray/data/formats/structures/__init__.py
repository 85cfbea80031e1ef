"""Structure files: mmCIF, BinaryCIF and PDB, plain or compressed; labels are computed, not read.

Invariant: each protein chain of the first model gives one ProteinRecord or one BadRecord; a file without any
gives one BadRecord. Flow: structure file -> [pdb or mmcif, runs, chains; dssp for the states] -> validate -> ingest.

Decisions:
- The id is FILESTEM_CHAIN with the author's chain name, as PDB users and mkdssp name chains. A second protein
  under the same name gets `-2` after it. Ingest puts the folder before it where files of one name lie in two. A blank
  name becomes that of the segment, or the first free letter.
- Where one chain ends and the next one starts: see `runs`.
- Where the file has the full polymer (SEQRES, entity_poly_seq), that is the sequence, and residues without
  coordinates are labelled `X`: the model sees the chain as a user would give it. Otherwise the sequence is
  that of the observed residues. Where they stand in the full sequence: see `placement`.
- Alternative conformations: the last one listed is taken, because mkdssp does so and labels must be those
  that it gives for the file. Of two residues at one place (microheterogeneity) the first is taken.
- Modified residues are written as their parent (MSE -> M, HSD -> H), unknown ones as `X`. A residue that
  lacks N, CA, C or O is labelled `X`.
- States are assigned to all chains of the model together, each with its own identity, so bridges between chains count
  and bonds between them do not join them. Assemblies are not built.

| reason                   | the file or chain                                                       |
|--------------------------|-------------------------------------------------------------------------|
| `unreadable-structure`   | is damaged, over a limit, or not of the format of its extension         |
| `no-protein-chain`       | holds no polypeptide (DNA, a ligand, water)                             |
| `too-few-residues`       | has under two residues with a whole backbone (a C-alpha trace, a stub)  |
| `seqres-mismatch`        | has observed residues that do not fit its own full sequence             |
| `bad-coordinates`        | has coordinates that are not finite, or residues that are one point     |
| `dssp-failed`            | made mkdssp end with an error, or has too many residues for it          |
"""

import io
from collections.abc import Iterator
from pathlib import Path

import gemmi

from liftray import limits
from liftray.data.formats.binarycif import decode_block
from liftray.data.formats.dssp import DsspError, Method, assign_states
from liftray.data.formats.names import is_pdb, plain_name, structure_stem
from liftray.data.formats.structures.chains import ProteinChain, protein_chains
from liftray.data.formats.structures.mmcif import CATEGORIES, block_with_atoms, read_block
from liftray.data.formats.structures.pdb import read_pdb
from liftray.data.labels import check_alphabet, map_string
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError
from liftray.input_files import DamagedStreamError, check_regular, open_input

_LINE_CHARACTERS = 1 << 16


def read(path: Path, *, alphabet: str, method: Method = "auto") -> Iterator[ProteinRecord | BadRecord]:
    """Yield the protein chains of a structure file, labelled.

    Args:
        path: A file named `.cif`, `.mmcif`, `.bcif`, `.pdb`, `.pdb1` or `.ent`, plain or compressed.
        alphabet: `ss9`, or a poorer one to map to (`dssp` map).
        method: How states are assigned; see `dssp.assign_states`.

    Yields:
        A record for each protein chain, in file order.

    Raises:
        DataError: The file cannot be opened, the alphabet is unknown, or `method` needs a missing program.
    """
    check_alphabet(alphabet)
    stem = structure_stem(path.name)
    check_regular(path)
    try:
        chains = load(path)
    except (ValueError, RuntimeError, LookupError, DamagedStreamError, DataError) as error:
        yield BadRecord(str(path), 0, stem, "unreadable-structure", _reason(error))
        return
    if not chains:
        yield BadRecord(str(path), 0, stem, "no-protein-chain", "no polypeptide in the first model")
        return
    sound = [chain for chain in chains if chain.flaw is None or chain.flaw[0] == "seqres-mismatch"]
    try:
        labels = dict(zip(map(id, sound), assign_states([c.backbone for c in sound], method), strict=True))
    except DsspError as error:
        yield BadRecord(str(path), 0, stem, "dssp-failed", str(error))
        return
    for chain in chains:
        record_id, whole = f"{stem}_{chain.name}", int(chain.backbone.whole.sum())
        if chain.flaw is not None:
            yield BadRecord(str(path), 0, record_id, *chain.flaw)
        elif whole < 2:
            detail = f"{whole} residues with N, CA, C and O"
            yield BadRecord(str(path), 0, record_id, "too-few-residues", detail)
        else:
            ss = map_string(labels[id(chain)], "ss9", alphabet)
            yield ProteinRecord(record_id, chain.sequence, ss, path.name)


def load(path: Path) -> list[ProteinChain]:
    """Read the protein chains of a structure file, in file order.

    Raises:
        DataError: The file cannot be opened, or its content is over a limit.
        DamagedStreamError: Its compressed bytes are damaged.
        ValueError: The content is not of the format of the extension; gemmi may also raise RuntimeError.
    """
    if is_pdb(path.name):
        return protein_chains(read_pdb(lambda: _lines(path)))
    return protein_chains(read_block(load_block(path)))


def load_block(path: Path) -> gemmi.cif.Block:
    """The data block with atoms of an mmCIF or BinaryCIF file; errors as `load`."""
    with open_input(path, max_bytes=limits.STRUCTURE_BYTES) as stream:
        data = stream.read()
    if not data.strip():
        raise ValueError("the file is empty")
    if plain_name(path.name).endswith(".bcif"):
        return decode_block(data, CATEGORIES)
    return block_with_atoms(gemmi.cif.read_string(data.decode("utf-8", "replace")))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a PDB file; ValueError if there are none or one is no line of text."""
    empty = True
    with (
        open_input(path, max_bytes=limits.STRUCTURE_BYTES) as stream,
        io.TextIOWrapper(stream, encoding="ascii", errors="replace") as text,
    ):
        while line := text.readline(_LINE_CHARACTERS):
            if "\0" in line or len(line) == _LINE_CHARACTERS:
                raise ValueError("no PDB file: it has NUL bytes or very long lines")
            empty = empty and not line.strip()
            yield line.rstrip("\n")
    if empty:
        raise ValueError("the file is empty")


def _reason(error: BaseException) -> str:
    if isinstance(error, DataError):  # the entry names the file already
        return error.what
    return " ".join(str(error).split())[:300]
