"""Telling a file's format from its name and first lines.

Invariant: reads a bounded start of the file and never guesses: what fits no format is an error that names
`--format`.
"""

from pathlib import Path

from liftray.data.formats.columns import has_chains
from liftray.data.formats.delimited import read_header
from liftray.data.formats.dssp_output import is_classic
from liftray.data.formats.fasta import holds_labels
from liftray.data.formats.fasta_files import companions, is_sequences, owner
from liftray.data.formats.jsonl import holds_chains
from liftray.data.formats.lines import BrokenStreamError, no_records, read_lines
from liftray.data.formats.names import is_structure, plain_name
from liftray.data.formats.netsurfp_csv import is_residue_form
from liftray.data.formats.psipred import is_psipred
from liftray.errors import DataError
from liftray.input_files import first_bytes

# Enough for the first record and the next header, even where a long chain is wrapped; in characters.
_START = 1 << 20


def detect(path: Path) -> str:
    """Name the format of an input.

    Structures are recognised by extension, Parquet by its first bytes, the rest by the first lines: with `>` it is
    FASTA if a label file is next to it or the headers are those of `fasta`'s forms; else three-line. DSSP's and
    PSIPRED's own output have their headers, an object with sequence and labels is JSON lines. A header with NetSurfP's
    columns is netsurfp-csv, with a sequence and a label column a table.

    Args:
        path: A file, or a directory of Parquet or structure files or with FLIP's `sequences.fasta`.

    Returns:
        A key of `FORMATS`.

    Raises:
        DataError: It is missing, empty or of no known format.
    """
    if path.is_dir():
        return _detect_directory(path)
    magic = first_bytes(path)
    if not magic:
        raise no_records(path)
    if is_structure(path.name):
        return "structures"
    if magic.startswith(b"PAR1"):
        return "parquet"
    if magic.startswith(b"ARROW1"):
        raise DataError("an Arrow IPC (Feather) file", where=str(path), remedy="convert it to Parquet")
    start = _first_lines(path)
    if start[0].startswith(">"):
        return _detect_headed(path, start)
    if is_classic(start) or (plain_name(path.name).endswith(".dssp") and start[0].startswith("data_")):
        return "dssp"
    if is_psipred(start) or plain_name(path.name).endswith((".ss2", ".horiz")):
        return "psipred"
    if start[0].lstrip().startswith(("{", "[")):
        return _detect_json(path, start[0])
    return _detect_table(path)


def _detect_json(path: Path, first: str) -> str:
    if holds_chains(first):
        return "jsonl"
    raise DataError(
        "JSON without a sequence and labels in its first line",
        where=str(path),
        remedy='give one object a line, such as {"id": "a", "sequence": "MKT", "ss8": "LHH"}',
    )


def _detect_directory(path: Path) -> str:
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    if any(name.endswith(".parquet") for name in names):
        return "parquet"
    if any(is_structure(name) for name in names):
        return "structures"
    if any(companions(path / name) for name in names if is_sequences(name)):
        return "fasta"
    remedy = "name the files themselves; a directory may hold Parquet or structure files, or FLIP's sequences.fasta"
    raise DataError("a directory without Parquet or structure files", where=str(path), remedy=remedy)


def _first_lines(path: Path) -> list[str]:
    start: list[str] = []
    size = 0
    try:
        for line in read_lines(path):
            if line.text.strip():
                start.append(line.text)
            size += len(line.text) + 1
            if size > _START:
                break
    except BrokenStreamError as broken:
        if not start:
            raise DataError(broken.detail, where=str(path), remedy="fetch the file again") from broken
    if not start:
        raise no_records(path)
    return start


def _detect_headed(path: Path, start: list[str]) -> str:
    if holds_labels([line for line in start if line.startswith(">")]) or companions(path):
        return "fasta"
    sequences = owner(path)
    if sequences:
        raise DataError(
            f"labels or a mask of {sequences.name}", where=str(path), remedy=f"name {sequences} instead"
        )
    return "three-line"


def _detect_table(path: Path) -> str:
    names = read_header(path).names
    if (
        is_residue_form(names)
        or {"input", "dssp8"} <= set(names)
        or {"sequence", "target", "set"} <= set(names)
    ):
        return "netsurfp-csv"
    if has_chains(names):
        return "table"
    raise DataError(
        "format not recognised",
        where=str(path),
        remedy="name it with --format, or add a header line with a sequence and a label column; also read are FASTA "
        "with labels, three-line, JSON lines, DSSP's and PSIPRED's output, Parquet, mmCIF and PDB",
    )
