"""One structure file: the residues and states of LiftRay next to those of mkdssp for the whole file.

Invariant: mkdssp gets the file as it is. Only where it cannot read that, it gets the nearest form that it reads:
BinaryCIF as mmCIF text; a PDB file with a HEADER line; a PDB file's SEQRES and atom records alone. The form is
reported.
"""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from liftray import limits
from liftray.data.formats import structures
from liftray.data.formats.binarycif import decode_block
from liftray.data.formats.dssp import DsspError, assign_states
from liftray.data.formats.names import is_pdb, plain_name
from liftray.data.formats.structures import ProteinChain
from liftray.errors import DataError
from liftray.input_files import DamagedStreamError, read_input

HEADER = "HEADER    PROTEIN                                 01-JAN-00   1XXX              "
SHARED = "one of several at one place"
_RECORDS = ("SEQRES", "ATOM  ", "HETATM", "TER", "MODEL ", "ENDMDL")

Key = tuple[str, str]
States = dict[Key, list[str]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two programs say about one file; residues are those with N, CA, C and O.

    Attributes:
        file: The file.
        chains: Chains that became records.
        refused: Reasons of quarantined chains or of the file.
        residues: Residues of ours.
        reference: Residues of mkdssp; None where it gave nothing.
        message: Why mkdssp gave nothing.
        form: What mkdssp was given: `as it is`, `mmCIF text`, `HEADER added` or `atoms only`.
        same: Residues with the same state.
        differing: Residues with another state.
        only_ours: Names of residues that mkdssp leaves out, or `SHARED`.
        only_theirs: Residues that only mkdssp has.
        twins: Further residues at the place of one of ours, which have no row of their own in our records.
        differing_on_same_residues: Residues that differ when ours are cut down to those of mkdssp.
    """

    file: Path
    chains: int
    refused: tuple[str, ...]
    residues: int
    reference: int | None = None
    message: str = ""
    form: str = "as it is"
    same: int = 0
    differing: int = 0
    only_ours: tuple[str, ...] = ()
    only_theirs: int = 0
    twins: int = 0
    differing_on_same_residues: int = 0


def compare(path: Path, timeout_s: float = 600.0) -> Comparison:
    """Read a file with both programs and compare residue by residue."""
    try:
        chains = structures.load(path)
    except (ValueError, RuntimeError, DamagedStreamError, DataError) as error:
        return Comparison(path, 0, (f"unreadable-structure: {str(error)[-80:]}",), 0)
    if not chains:
        return _with_reference(Comparison(path, 0, ("no-protein-chain",), 0), [], timeout_s)
    refused = [f"{chain.flaw[0]}" for chain in chains if chain.flaw]
    few = [chain for chain in chains if not chain.flaw and chain.backbone.whole.sum() < 2]
    refused += ["too-few-residues"] * len(few)
    residues = sum(int(chain.backbone.whole.sum()) for chain in chains)
    found = Comparison(path, len(chains) - len(refused), tuple(refused), residues)
    return _with_reference(found, chains, timeout_s)


def _with_reference(found: Comparison, chains: list[ProteinChain], timeout_s: float) -> Comparison:
    theirs, message, form = reference(found.file, timeout_s)
    if not theirs and (message or found.residues):
        return replace(found, message=message or "gave no residue", form=form)
    count = sum(map(len, theirs.values()))
    found = replace(found, reference=count, form=form)
    try:
        ours = _states(chains)
    except DsspError as error:
        return replace(found, refused=(*found.refused, f"dssp-failed: {error}"))
    same, differing = _count(ours, theirs)
    lacking = _lacking(chains, theirs)
    found = replace(
        found,
        same=same,
        differing=differing,
        only_ours=tuple(name for names in lacking.values() for name in names),
        only_theirs=count - same - differing,
        twins=sum(len(chain.backbone.twins) for chain in chains),
    )
    if differing and lacking:
        _, again = _count(_states(_cut(chains, theirs)), theirs)
        return replace(found, differing_on_same_residues=again)
    return replace(found, differing_on_same_residues=differing)


def reference(path: Path, timeout_s: float) -> tuple[States, str, str]:
    """The states of mkdssp for the whole file; why there are none; and the form that it was given."""
    message, form = "", ""
    with tempfile.TemporaryDirectory(prefix="liftray-agreement-") as folder:
        out = Path(folder, "out.dssp")
        for form, given in _forms(path, Path(folder)):
            failed = _mkdssp(given, out, timeout_s)
            if not failed:
                return _classic(out.read_text(errors="replace")), "", form
            message = failed
    return {}, message, form


def _forms(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """The file in the forms that mkdssp may read, the nearest to the file first."""
    if plain_name(path.name).endswith(".bcif"):
        block = decode_block(read_input(path, max_bytes=limits.STRUCTURE_BYTES), _All())
        given = folder / "text.cif"
        given.write_text(block.as_string())
        yield "mmCIF text", given
        return
    yield "as it is", path
    if is_pdb(path.name):
        text = read_input(path, max_bytes=limits.STRUCTURE_BYTES).decode("ascii", "replace")
        lines = [line for line in text.splitlines() if not line.startswith("HEADER")]
        given = folder / "given.pdb"
        given.write_text("\n".join([HEADER, *lines, ""]))
        yield "HEADER added", given
        atoms = [line.ljust(80) for line in lines if line.startswith(_RECORDS)]
        given.write_text("\n".join([HEADER, *atoms, "END".ljust(80), ""]))
        yield "atoms only", given


class _All(dict[str, None]):
    """All categories of a BinaryCIF file, with all items."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> None:
        return None


def _mkdssp(path: Path, out: Path, timeout_s: float) -> str:
    """Run mkdssp; returns why it failed, or ""."""
    command = ["mkdssp", "--quiet", "--output-format", "dssp", str(path), str(out)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"took more than {timeout_s:.0f} s"
    if ended.returncode == 0 and out.exists():
        return ""
    lines = ended.stderr.decode(errors="replace").strip().splitlines() or [f"ended with {ended.returncode}"]
    return " / ".join(line.strip() for line in lines[:2])[:160]


def _classic(text: str) -> States:
    states: States = defaultdict(list)
    for row in text.partition("  #  RESIDUE")[2].splitlines()[1:]:
        if row[13] != "!":
            states[row[11].strip(), row[5:11].strip()].append(row[16].replace(" ", "L"))
    return states


def _states(chains: list[ProteinChain]) -> States:
    states: States = defaultdict(list)
    labels = assign_states([chain.backbone for chain in chains], "mkdssp") if chains else []
    for chain, ss in zip(chains, labels, strict=True):
        for place, state, whole in zip(chain.places, ss, chain.backbone.whole, strict=True):
            if whole:
                states[chain.author[:1], place].append(state)
    return states


def _count(ours: States, theirs: States) -> tuple[int, int]:
    """Residues of both with the same and with another state."""
    pairs = [
        (a, b) for key in ours.keys() & theirs.keys() for a, b in zip(ours[key], theirs[key], strict=False)
    ]
    same = sum(a == b for a, b in pairs)
    return same, len(pairs) - same


def _lacking(chains: list[ProteinChain], theirs: States) -> dict[Key, list[str]]:
    """Our residues that mkdssp does not have, by place: their names."""
    left = {key: len(states) for key, states in theirs.items()}
    lacking: dict[Key, list[str]] = defaultdict(list)
    for chain in chains:
        rows = zip(chain.places, chain.backbone.residues, chain.backbone.whole, strict=True)
        for row, (place, name, whole) in enumerate(rows):
            key = (chain.author[:1], place)
            if whole and left.get(key, 0) == 0:
                lacking[key].append(SHARED if row in chain.shared else name)
            elif whole:
                left[key] -= 1
    return lacking


def _cut(chains: list[ProteinChain], theirs: States) -> list[ProteinChain]:
    """The chains without the coordinates of residues that mkdssp does not have."""
    cut = []
    for chain in chains:
        atoms_L43 = chain.backbone.atoms_L43.copy()
        lacking = [(chain.author[:1], place) not in theirs for place in chain.places]
        atoms_L43[np.array(lacking, dtype=bool)] = np.nan
        cut.append(replace(chain, backbone=replace(chain.backbone, atoms_L43=atoms_L43)))
    return cut
