"""Which columns of a table hold id, sequence and labels, by the names that people give them.

Invariant: pure functions of the column names. Used by table, netsurfp_csv and parquet.

Names are compared in lower case with underscores; the first that is there, in this order, is taken:
- id: `id`, `name`, `chain_id`, `protein_id`, `protein_name`, `accession`, `entry`, `uniprot_id`,
  `identifier`, `header`, `protein`; `pdb_id` joined by `_` with `chain_code` or `chain` where there is one.
  Without any of them the id is the file's name and the number of the row.
- sequence: `sequence`, `seq`, `input`, `protein_sequence`, `aa_sequence`, `primary`, `aa`, `residues`.
- labels of a named alphabet: `ss8`, `dssp8`, `q8`, `sst8` (and 3, 9); else of an unnamed one: `ss`, `labels`,
  `label`, `target`, `secondary_structure`, `secstr`, `dssp`.

`dssp8`, `q8` and `sst8` are columns of the NetSurfP and PDB ss lineage, which writes coil `C`: there `C`
reads as `L`. In a column called `ss8` or `ss` it stays, and is then quarantined as ambiguous.

A column `set` or `split` must have one value throughout: rows to train and to test on do not mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
_LABEL_PREFIXES = ("ss", "dssp", "q", "sst")
_C_IS_COIL = frozenset({"dssp8", "q8", "sst8"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns to read.

    Attributes:
        ids: Columns whose cells, joined by `_`, are the id; empty where the row's number has to serve.
        sequence: The residues.
        labels: The labels.
    """

    ids: tuple[str, ...]
    sequence: str
    labels: str

    def states(self, cell: str) -> str:
        """The labels of one cell, coil spelled `L` where the column's lineage writes `C`."""
        return cell.replace("C", "L") if self.labels in _C_IS_COIL else cell


class SplitGuard:
    """Refuses a table that holds several parts of a split, so that test rows never train unseen.

    Attributes:
        column: The column that names the part, or None where there is none.
    """

    def __init__(self, names: Sequence[str], where: str) -> None:
        self.column = _first(names, _SPLIT_NAMES)
        self._where = where
        self._first_part: str | None = None

    def check(self, part: str | None) -> None:
        """Raise DataError if a row is of another part than the first row."""
        part = part or ""
        if self._first_part is None:
            self._first_part = part
        elif part != self._first_part:
            raise DataError(
                f"column {self.column!r} has both {self._first_part!r} and {part!r}",
                where=self._where,
                remedy="ingest each part as its own file, or drop the column to take all rows together",
            )


def find_columns(names: Sequence[str], alphabet: str, where: str) -> Columns:
    """Choose the columns.

    Args:
        names: Column names, normalised.
        alphabet: The alphabet wanted; its own label column goes before a column of no named alphabet.
        where: The file, for the error.

    Raises:
        DataError: There is no sequence column, or no label column that can be of this alphabet.
    """
    sequence = _first(names, SEQUENCE_NAMES)
    labels = _first(names, (*_label_names(alphabet), *_PLAIN_LABEL_NAMES))
    if sequence is None or labels is None:
        missing = "a sequence column" if sequence is None else f"a column of {alphabet} labels"
        raise DataError(
            f"no {missing.removeprefix('a ')}",
            where=where,
            remedy=f"name one 'sequence' and one '{alphabet}' or 'ss'; there are: {', '.join(names)[:300]}",
        )
    return Columns(_id_columns(names), sequence, labels)


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
