"""One reader a protein file format, each imported when it is first used.

Invariant: whatever the format, `read` yields each record of a file once, as a ProteinRecord that passed
validation or as a BadRecord; chains of other parts of a split are counted in the PartGuard. Flow: files -> [this] ->
ingest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from liftray.data.formats.names import is_structure
from liftray.data.formats.parts import PartGuard
from liftray.data.formats.spelling import plain
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord
from liftray.data.validate import check
from liftray.errors import DataError


@dataclass(frozen=True, slots=True)
class FormatReader:
    """A format's reader by the name of its module.

    Attributes:
        module: Module in this package with `read(path, *, alphabet)`, and with `declared_alphabet(path)`
            unless `alphabet` is given.
        alphabet: The alphabet that every file of the format has, where it does not depend on the file.
    """

    module: str
    alphabet: str | None = None

    def __call__(self, path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
        """Yield the records of one file as the format gives them, not yet validated."""
        records: Iterator[ProteinRecord | BadRecord] = self._import("read")(path, alphabet=alphabet)
        return records

    def declared_alphabet(self, path: Path) -> str | None:
        """The alphabet that format, header or file name declare; None where only the letters can decide."""
        if self.alphabet:
            return self.alphabet
        declared: str | None = self._import("declared_alphabet")(path)
        return declared

    def _import(self, name: str) -> Any:
        return getattr(import_module(f"{__name__}.{self.module}"), name)


FORMATS: dict[str, FormatReader] = {
    "three-line": FormatReader("three_line"),
    "fasta": FormatReader("fasta"),
    "netsurfp-csv": FormatReader("netsurfp_csv"),
    "table": FormatReader("table"),
    "jsonl": FormatReader("jsonl"),
    "dssp": FormatReader("dssp_output"),
    "psipred": FormatReader("psipred"),
    "structures": FormatReader("structures", alphabet="ss9"),
    "parquet": FormatReader("parquet"),
}


def detect(path: Path) -> str:
    """Name the format of a file or directory: see `sniff.detect`."""
    from liftray.data.formats import sniff

    return sniff.detect(path)


def read(
    path: Path,
    *,
    format: str = "auto",
    alphabet: str,
    labels: Mapping[str, str] = MappingProxyType({}),
    parts: PartGuard | None = None,
) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the validated records of one file.

    Args:
        path: The file.
        format: A key of `FORMATS`, or `auto`.
        alphabet: The alphabet its labels must be in.
        labels: Label of the file -> state; see `spelling.parse_labels`.
        parts: Chooses among the parts of a split; None refuses a mixture.

    Yields:
        Each record once, in file order, but for chains of other parts.

    Raises:
        DataError: The file is missing, empty, unreadable, of no known format, or mixes the parts of a split.
    """
    for record in spelled(path, format=format, alphabet=alphabet, labels=labels, parts=parts):
        yield check(record, alphabet, str(path))


def spelled(
    path: Path,
    *,
    format: str = "auto",
    alphabet: str,
    labels: Mapping[str, str] = MappingProxyType({}),
    parts: PartGuard | None = None,
) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of one file with their spelling resolved, not yet validated; see `read`."""
    name = detect(path) if format == "auto" else format
    guard = parts or PartGuard()
    for record in FORMATS[name](path, alphabet=alphabet):
        if not isinstance(record, WrittenRecord):
            yield record
        elif guard.takes(record.part, str(path)):
            yield plain(record, labels, str(path))


def expand(inputs: Sequence[str | Path], format: str = "auto") -> list[tuple[Path, str]]:
    """Turn what a user names into files and their formats.

    A directory gives its Parquet or its structure files, by name, or FLIP's `sequences.fasta`. The label file and the
    mask of FASTA sequences that are named together with them are read with them, not again by themselves.

    Raises:
        DataError: Nothing was named, `format` is unknown, or an input is missing or of no known format.
    """
    if format not in (*FORMATS, "auto"):
        raise DataError(f"unknown format {format!r}", remedy=f"use one of auto, {', '.join(FORMATS)}")
    if not inputs:
        raise DataError("no input files", remedy="name at least one")
    paths = [Path(item) for item in inputs]
    labels = _companions(paths)
    files: list[tuple[Path, str]] = []
    for path in paths:
        if path.resolve() in labels:
            continue
        name = detect(path) if format == "auto" or path.is_dir() else format
        files += [(file, name) for file in (_listing(path, name) if path.is_dir() else [path])]
    return files


def _companions(paths: list[Path]) -> set[Path]:
    from liftray.data.formats.fasta_files import belonging

    return {other.resolve() for path in paths if path.is_file() for other in belonging(path)}


def _listing(path: Path, name: str) -> list[Path]:
    from liftray.data.formats.fasta_files import companions, is_sequences

    entries = sorted(entry for entry in path.iterdir() if entry.is_file())
    if name == "fasta":
        return [entry for entry in entries if is_sequences(entry.name) and companions(entry)]
    if name == "parquet":
        return [entry for entry in entries if entry.name.endswith(".parquet")]
    return [entry for entry in entries if is_structure(entry.name)]
