"""Which columns of a table hold id, sequence and labels, by the names that people give them.

Invariant: pure functions of the column names. Used by table, netsurfp_csv and parquet.

Names are compared in lower case with underscores; the first that is there, in this order, is taken:
- id: `id`, `name`, `chain_id`, `protein_id`, `protein_name`, `accession`, `entry`, `uniprot_id`,
  `identifier`, `header`, `protein`; `pdb_id` joined by `_` with `chain_code` or `chain` where there is one.
  Without any of them the id is the file's name and the number of the row.
- sequence: `sequence`, `seq`, `input`, `protein_sequence`, `aa_sequence`, `primary`, `aa`, `residues`.
- labels of a named alphabet: `ss8`, `dssp8`, `q8`, `sst8` (and 3, 9); else of an unnamed one: `ss`, `labels`,
  `label`, `target`, `secondary_structure`, `secstr`, `dssp`. Where nine states are wanted and neither is there, a
  column of eight states is read: files of nine states keep the old name.
- masks, 0 where a label must not be used: `mask`, `cb513_mask`, and `disorder` next to `input` and a `dssp` column (the
  NetSurfP-2.0 data sets), where 0 is a residue without coordinates.
- `set` or `split` names the part of a split, with FLIP's `validation` (see `parts`).

`dssp8`, `q8` and `sst8` are columns of the NetSurfP and PDB ss lineage, which writes coil `C`: there `C`
reads as `L`. In a column called `ss8` or `ss` it stays, and is then quarantined as ambiguous.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from liftray import limits
from liftray.data.formats.parts import part_of
from liftray.data.formats.spelling import is_used, mask_flags
from liftray.data.records import BadRecord, WrittenRecord
from liftray.errors import DataError

SEQUENCE_NAMES = (
    "sequence",
    "seq",
    "input",
    "protein_sequence",
    "aa_sequence",
    "primary",
    "aa",
    "residues",
)
_ID_NAMES = (
    "id",
    "name",
    "chain_id",
    "protein_id",
    "protein_name",
    "accession",
    "entry",
    "uniprot_id",
    "identifier",
    "header",
    "protein",
)
_CHAIN_NAMES = ("chain_code", "chain")
_PLAIN_LABEL_NAMES = ("ss", "labels", "label", "target", "secondary_structure", "secstr", "dssp")
_SPLIT_NAMES = ("set", "split")
_MASK_NAMES = ("mask", "cb513_mask")
_LABEL_PREFIXES = ("ss", "dssp", "q", "sst")
_C_IS_COIL = frozenset({"dssp8", "q8", "sst8"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns to read.

    Attributes:
        ids: Columns whose cells, joined by `_`, are the id; empty where the row's number has to serve.
        sequence: The residues.
        labels: The labels.
        masks: Columns of numbers, 0 where a label must not be used.
        part: The part of a split; None where there is none.
        validation: FLIP's mark of chains that validate; None where there is none.
    """

    ids: tuple[str, ...]
    sequence: str
    labels: str
    masks: tuple[str, ...] = ()
    part: str | None = None
    validation: str | None = None

    @property
    def wanted(self) -> list[str]:
        """All of them, each once."""
        names = [*self.ids, self.sequence, self.labels, *self.masks, self.part, self.validation]
        return list(dict.fromkeys(name for name in names if name))

    def record(
        self, cells: Mapping[str, str | None], path: Path, number: int, line: int
    ) -> WrittenRecord | BadRecord:
        """One row as a chain.

        Args:
            cells: Cells by column; None where there is no value.
            path: The file.
            number: The row, from 1, for the id where no column has it.
            line: Its line; 0 where the format has no lines.
        """
        parts = [cells[name] or "" for name in self.ids]
        stem = path.name.split(".")[0]
        record_id = ("_".join(parts) if all(parts) else "") if parts else f"{stem}-{number}"
        sequence, ss = cells[self.sequence], cells[self.labels]
        if sequence is None or ss is None:
            missing = self.sequence if sequence is None else self.labels
            return BadRecord(
                str(path), line, record_id, "empty", f"row {number}: no value in column {missing!r}"
            )
        mask = merged([cells[name] or "" for name in self.masks])
        if mask is None:
            wrong = f"row {number}: the columns {' and '.join(self.masks)} have different numbers of values"
            return BadRecord(str(path), line, record_id, "mask-mismatch", wrong)
        part = part_of(self.part and cells[self.part], self.validation and cells[self.validation])
        source = cells.get("source") or path.name
        return WrittenRecord(record_id, sequence, ss, source, line, self.coil, mask, part)

    @property
    def coil(self) -> str:
        """Labels that the column's lineage defines as coil."""
        return "C" if self.labels in _C_IS_COIL else ""


def find_columns(names: Sequence[str], alphabet: str, where: str) -> Columns:
    """Choose the columns.

    Args:
        names: Column names, normalised.
        alphabet: The alphabet wanted; its own label column goes before a column of no named alphabet.
        where: The file, for the error.

    Raises:
        DataError: A column comes twice, there is no sequence column, or no label column that can be of this alphabet.
    """
    check_once(names, where)
    sequence = _first(names, SEQUENCE_NAMES)
    poorer = _label_names("ss8") if alphabet == "ss9" else ()
    labels = _first(names, (*_label_names(alphabet), *_PLAIN_LABEL_NAMES, *poorer))
    if sequence is None or labels is None:
        missing = "a sequence column" if sequence is None else f"a column of {alphabet} labels"
        raise DataError(
            f"no {missing.removeprefix('a ')}",
            where=where,
            remedy=f"name one 'sequence' and one '{alphabet}' or 'ss'; there are: {', '.join(names)[:300]}",
        )
    netsurfp = {"input", "disorder"} <= set(names) and labels.startswith("dssp")
    masks = tuple(name for name in names if name in _MASK_NAMES or (netsurfp and name == "disorder"))
    part = _first(names, _SPLIT_NAMES)
    validation = "validation" if part and "validation" in names else None
    return Columns(_id_columns(names), sequence, labels, masks, part, validation)


def merged(masks: Sequence[str]) -> str | None:
    """Several masks as one, 0 where any has 0; None where they differ in length."""
    lists = [flags for mask in masks if (flags := mask_flags(mask)) is not None]
    if len(lists) < 2:
        return next((" ".join(flags) for flags in lists), "")
    if len({len(flags) for flags in lists}) > 1:
        return None
    return " ".join(min(flags, key=is_used) for flags in zip(*lists, strict=True))


def normal_name(cell: str) -> str:
    """A column's name as it is compared: lower case, underscores for blanks and hyphens."""
    return cell.strip().lower().replace(" ", "_").replace("-", "_")


def check_once(names: Sequence[str], where: str) -> None:
    """Raise DataError if two columns have one name, which may differ in case, blanks or hyphens; or at too many."""
    if len(names) > limits.COLUMNS:
        what = f"{len(names):,} columns; {limits.COLUMNS:,} is the most"
        raise DataError(what, where=where, remedy="keep id, sequence and labels")
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise DataError(
            f"column {twice[0]!r} twice (case, blanks and hyphens do not count)",
            where=where,
            remedy="rename or drop one of them",
        )


def named_alphabet(names: Sequence[str]) -> str | None:
    """The richest alphabet that has a label column of its own name, or None."""
    return next((name for name in ("ss9", "ss8", "ss3") if _first(names, _label_names(name))), None)


def has_chains(names: Sequence[str]) -> bool:
    """Whether the columns can hold one labelled chain a row."""
    labelled = named_alphabet(names) or _first(names, _PLAIN_LABEL_NAMES)
    return bool(labelled and _first(names, SEQUENCE_NAMES))


def _label_names(alphabet: str) -> tuple[str, ...]:
    return tuple(prefix + alphabet[-1] for prefix in _LABEL_PREFIXES)


def _id_columns(names: Sequence[str]) -> tuple[str, ...]:
    plain = _first(names, _ID_NAMES)
    if plain:
        return (plain,)
    if "pdb_id" not in names:
        return ()
    chain = _first(names, _CHAIN_NAMES)
    return ("pdb_id", chain) if chain else ("pdb_id",)


def _first(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)
