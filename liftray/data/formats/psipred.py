"""PSIPRED's files of one chain: `.ss2` (a residue a line) and `.horiz` (blocks of lines).

Invariant: one file gives one record or one BadRecord. Flow: lines -> [this] -> spelling -> validate -> ingest. The
states are C, H and E; they are predictions, which ingest says. The id is that of LiftRay's own header, else the file's
name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from liftray.data.formats.lines import BrokenStreamError, no_records, read_lines
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord
from liftray.data.validate import MAX_RESIDUES

_ID = re.compile(r"\bid=(\S+)")
_VERTICAL = re.compile(r"\s*(\d+)\s+(\S)\s+(\S)(?:\s+[-+.\deE]+)*\s*$")
_PREDICTED, _RESIDUES = re.compile(r"\s*Pred:\s*(\S*)"), re.compile(r"\s*AA:\s*(\S*)")


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the one chain of a file.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: Not used: the labels are passed on unchanged.

    Yields:
        A record, or a BadRecord (`malformed-row`, `too-long` or a damaged stream).

    Raises:
        DataError: The file cannot be read or is empty.
    """
    record_id, first, count = path.name.split(".")[0], 0, 0
    residues: list[str] = []
    states: list[str] = []
    try:
        for line in read_lines(path):
            if line.text.startswith("#"):
                named = _ID.search(line.text)
                record_id = named.group(1) if named else record_id
            elif line.text.strip():
                first = first or line.number
                if not _take(line.text, residues, states):
                    yield BadRecord(
                        str(path), line.number, record_id, "malformed-row", "not a row of PSIPRED's"
                    )
                    return
                count += len(residues[-1]) if residues else 0
                if count > MAX_RESIDUES:
                    yield BadRecord(str(path), first, record_id, "too-long", f"over {MAX_RESIDUES} residues")
                    return
    except BrokenStreamError as broken:
        yield broken.bad_record(path, first or 1, record_id)
        return
    if not first:
        raise no_records(path)
    yield WrittenRecord(record_id, "".join(residues), "".join(states), path.name, first)


def declared_alphabet(path: Path) -> str:
    """`ss3`, which all these files have."""
    return "ss3"


def is_psipred(lines: list[str]) -> bool:
    """Whether the first lines of a file are those of PSIPRED's."""
    return any(re.match(r"# PSIPRED [VH]FORMAT|Conf: ?\d", line) for line in lines[:3])


def _take(text: str, residues: list[str], states: list[str]) -> bool:
    """Add what a line holds; False if it is none of the two formats."""
    row = _VERTICAL.match(text)
    if row:
        if int(row.group(1)[:9]) != len(residues) + 1:
            return False
        residues.append(row.group(2))
        states.append(row.group(3))
        return True
    predicted, letters = _PREDICTED.match(text), _RESIDUES.match(text)
    if predicted:
        states.append(predicted.group(1))
    elif letters:
        residues.append(letters.group(1))
    return bool(predicted or letters or re.match(r"\s*Conf:|[\s\d]*$", text))
