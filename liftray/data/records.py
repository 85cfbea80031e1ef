"""A protein chain on its way into Parquet, and a refused one.

Invariant: every record that a reader meets ends as exactly one `ProteinRecord` or one `BadRecord`; nothing is
dropped or repaired without a record of it. Flow: format readers -> [this] -> ingest -> Parquet. A WrittenRecord is a
ProteinRecord before its spelling is resolved.
"""

from dataclasses import dataclass

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sequence", pa.large_string(), nullable=False),
        pa.field("ss", pa.large_string(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
ALPHABET_KEY = b"liftray.alphabet"


@dataclass(frozen=True, slots=True)
class ProteinRecord:
    """One labelled chain.

    Attributes:
        id: The chain's name, unique within a data set.
        sequence: One-letter residues, (L,) characters.
        ss: One label a residue, (L,) characters; `X` where there is none.
        source: Name of the file it came from.
        line: Line in that file where the record starts, from 1; 0 where the format has no lines.
    """

    id: str
    sequence: str
    ss: str
    source: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class WrittenRecord(ProteinRecord):
    """One chain as its file spells it: `spelling.plain` makes it a ProteinRecord.

    Attributes:
        coil: Labels that the format itself defines as coil; each reads as `L`.
        mask: One number a residue, 0 where the label must not be used, as text; "" where there is no mask.
        part: The part of a split that the chain is in, such as `train`; "" where the file names none.
    """

    coil: str = ""
    mask: str = ""
    part: str = ""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that could not be taken, as a line of `quarantine.jsonl`.

    Attributes:
        file: The file that holds it.
        line: Line where the record starts, from 1; 0 where the format has no lines.
        id: Its name, or "" where it has none.
        reason: A short stable code such as `length-mismatch`.
        detail: One sentence for a person.
        labels: The labels that are not in the alphabet, each once, sorted; "" for other reasons.
    """

    file: str
    line: int
    id: str
    reason: str
    detail: str
    labels: str = ""
