"""mmCIF and BinaryCIF: the atoms of the first model, with what the file says about its polymers.

Invariant: the only items that a file must have are atom name, residue name and coordinates; for each other item that it
lacks there is a stated substitute. Flow: CIF block -> [this] -> `runs`.

Decisions: the first data block that has atoms is read. Chains are parted by `label_asym_id`, as mkdssp does, and named
by `auth_asym_id`. An atom of an entity that is stated to be no polypeptide is left out; where nothing is stated, names
and bonds decide as in PDB files.
"""

from collections.abc import Iterator

import gemmi

from liftray import limits
from liftray.data.formats.structures.residue_names import Kind, kind
from liftray.data.formats.structures.runs import BACKBONE, Residue, Run, RunBuilder

# Each item with the ones that stand in for it, best first.
_ITEMS = (
    ("label_atom_id", "auth_atom_id"),
    ("label_comp_id", "auth_comp_id"),
    ("Cartn_x",),
    ("Cartn_y",),
    ("Cartn_z",),
    ("label_asym_id", "auth_asym_id"),
    ("auth_asym_id", "label_asym_id"),
    ("auth_seq_id", "label_seq_id"),
    ("label_seq_id",),
    ("label_alt_id",),
    ("pdbx_PDB_ins_code",),
    ("group_PDB",),
    ("label_entity_id",),
    ("pdbx_PDB_model_num",),
)
_NEEDED = 5
CATEGORIES = {
    "_atom_site": frozenset(names[0] for names in _ITEMS),
    "_entity": ("id", "type"),
    "_entity_poly": ("entity_id", "type"),
    "_entity_poly_seq": ("entity_id", "num", "mon_id"),
    "_struct_asym": ("id", "entity_id"),
}
"""What is read of a file."""
_NO_PROTEIN = (Kind.NUCLEOTIDE, Kind.OTHER)


def block_with_atoms(document: gemmi.cif.Document) -> gemmi.cif.Block:
    """The first data block that has atoms, else the first; ValueError if there is none."""
    if not len(document):
        raise ValueError("no data block")
    return next((block for block in document if block.find_values("_atom_site.Cartn_x")), document[0])


def read_block(block: gemmi.cif.Block) -> list[Run]:
    """Read the first model of a data block.

    Returns:
        The runs of protein residues, in file order.

    Raises:
        ValueError: An item that is needed is missing, a value is no number, or the block is over a limit.
    """
    polymers = _Polymers(block)
    builder = RunBuilder()
    model: str | None = None
    for row in _rows(block):
        atom, name, x, y, z, asym, chain, author, label, altloc, insertion, group, entity, number = row
        model = number if model is None else model
        asym, chain, author = asym or chain, chain or asym, author or label
        if number != model:
            continue
        entity = entity or polymers.entity_of(asym)
        full = polymers.full(entity)
        if not polymers.may_be_protein(entity) or (
            kind(name) in _NO_PROTEIN and not polymers.states(entity, name)
        ):
            continue
        position = (_coordinate(x), _coordinate(y), _coordinate(z))
        place = int(label) - 1 if full and label.isdecimal() else None
        if not author:
            raise ValueError(f"an atom of {name} has neither auth_seq_id nor label_seq_id")
        member = label.isdecimal() and polymers.is_protein(entity)
        residue = Residue(name, f"{author}{insertion}", place, group == "HETATM", "", member)
        builder.add(asym, residue, atom, altloc, position, chain=chain, asym=asym, full=full)
    return builder.runs()


def _coordinate(text: str) -> float:
    if "_" in text:  # Python reads 1_0 as ten
        raise ValueError(f"no number in the coordinate {text!r}")
    return float(text) if text else float("nan")


def _rows(block: gemmi.cif.Block) -> Iterator[tuple[str, ...]]:
    """The values of `_ITEMS` of each atom; "" where absent. Atoms that no chain needs keep their residue known."""
    columns = []
    length = len(block.find_values("_atom_site.Cartn_x"))
    if length > limits.STRUCTURE_ATOMS:
        raise ValueError(f"over {limits.STRUCTURE_ATOMS:,} atoms")
    for i, names in enumerate(_ITEMS):
        found = next((name for name in names if len(block.find_values(f"_atom_site.{name}"))), None)
        if found is None and i < _NEEDED and length:
            raise ValueError(f"_atom_site has no {names[0]}")
        columns.append(block.find_values(f"_atom_site.{found}") if found else None)
    seen: tuple[str, ...] = ()
    for row in range(length):
        atom = gemmi.cif.as_string(columns[0][row]).upper()  # type: ignore[index]
        values = [gemmi.cif.as_string(column[row]) if column is not None else "" for column in columns[1:]]
        here = (values[0], *values[4:8], values[9])
        if atom in BACKBONE or here != seen:
            seen = here
            values[0] = values[0].upper()
            yield (atom, *values)


class _Polymers:
    """What a block says about its entities."""

    def __init__(self, block: gemmi.cif.Block) -> None:
        self._entity = dict(_pairs(block, "_struct_asym.", "id", "entity_id"))
        self._kind = dict(_pairs(block, "_entity.", "id", "type"))
        self._polymer = dict(_pairs(block, "_entity_poly.", "entity_id", "type"))
        monomers: dict[str, dict[int, str]] = {}
        for entity, number, name in block.find("_entity_poly_seq.", ["entity_id", "num", "mon_id"]):
            names = monomers.setdefault(gemmi.cif.as_string(entity), {})
            place, one = int(gemmi.cif.as_string(number)), gemmi.cif.as_string(name).upper()
            names[place] = f"{names[place]},{one}" if place in names else one
        self._full = {
            entity: [names[place] for place in sorted(names)]
            for entity, names in monomers.items()
            if sorted(names) == list(range(1, len(names) + 1))
        }
        self._others = {
            entity: {name for name in names if kind(name) is Kind.OTHER}
            for entity, names in self._full.items()
        }

    def entity_of(self, asym: str) -> str:
        return self._entity.get(asym, "")

    def full(self, entity: str) -> list[str]:
        return self._full.get(entity, [])

    def states(self, entity: str, name: str) -> bool:
        """Whether the polymer has a monomer of this name that is neither amino acid nor nucleotide."""
        return name in self._others.get(entity, ())

    def is_protein(self, entity: str) -> bool:
        """Whether the file says that the entity is a polypeptide."""
        return "polypeptide" in self._polymer.get(entity, "").lower()

    def may_be_protein(self, entity: str) -> bool:
        """False where the file says that the entity is no polypeptide."""
        if self._polymer.get(entity):
            return self.is_protein(entity)
        return self._kind.get(entity, "").lower() not in ("non-polymer", "water", "branched")


def _pairs(block: gemmi.cif.Block, category: str, key: str, value: str) -> Iterator[tuple[str, str]]:
    for row in block.find(category, [key, value]):
        yield gemmi.cif.as_string(row[0]), gemmi.cif.as_string(row[1])
