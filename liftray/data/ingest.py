"""Protein files to one Parquet data set, with a quarantine for what could not be taken.

Invariant: every record met is one row, one line of `quarantine.jsonl`, or a chain of another part of a split, and
`out` is the whole new data set or what it was before. Memory: one row group, the readers' one record, and a few
hundred bytes a chain (see `tally`). Flow: formats (read, validate) -> [this] -> Parquet -> dataset.

Layout of `out`: `part-00000.parquet`, ... · `quarantine.jsonl` · `dataset.json` · `summary.json`.
"""

import json
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from liftray import sealed
from liftray.data import formats
from liftray.data.alphabet import choose_alphabet
from liftray.data.dataset import DATASET_FORMAT, DATASET_VERSION
from liftray.data.formats.fasta_files import companion, mask_file
from liftray.data.formats.names import folder_prefixes
from liftray.data.formats.parts import PartGuard
from liftray.data.formats.spelling import parse_labels
from liftray.data.labels import STATES
from liftray.data.part_files import DATASET_FILE, PARQUET_KEY
from liftray.data.records import ALPHABET_KEY, SCHEMA, BadRecord, ProteinRecord
from liftray.data.remedy import IngestCommand, alternatives, command_of, remedies, warnings
from liftray.data.tally import Tally
from liftray.documents import read_json
from liftray.errors import DataError
from liftray.files import new_directory, sha256_file, write_json

QUARANTINE_FILE, SUMMARY_FILE = "quarantine.jsonl", "summary.json"

_PACKAGES = ("liftray", "pyarrow", "numpy")


def ingest(
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    format: str = "auto",
    alphabet: str | None = None,
    labels: Iterable[str] | Mapping[str, str] = (),
    set: str | None = None,
    on_error: Literal["quarantine", "fail"] = "quarantine",
    row_group_size: int = 1024,
    rows_per_file: int = 65_536,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Read protein files and write them as one Parquet data set.

    Args:
        inputs: Files, or directories of Parquet or structure files.
        out: Directory to write; an earlier LiftRay data set there is replaced in one step, anything else is
            refused.
        format: A key of `formats.FORMATS`, or `auto` to detect each file's format.
        alphabet: Alphabet of the labels; None to detect it (see `alphabet.choose_alphabet`). Labels are never
            mapped to another one.
        labels: What the labels of the files mean, for every format: `C=L`, `-=L`, `blank=X`; see
            `spelling.parse_labels`.
        set: The part of a split to take (`train`, `validation`, `test`), or `all`; None refuses files that mix parts.
        on_error: `quarantine` bad records, or `fail` at the first.
        row_group_size: Rows in a row group; what is held in memory.
        rows_per_file: Rows in a part file, rounded up to whole row groups.
        progress: Called with 1 for each record met.

    Returns:
        The content of `summary.json`: `out`, `alphabet_from` (`argument`, `declared`, `letters`), `seconds`, and
        the alphabet, counts and sources of `dataset.json`. `assigned_by` names the program that assigned states to
        structures; None where labels were read. `ingest_summary.lines` makes it readable. `warnings` are sentences
        about what may be read wrongly; `set` is the part that was taken, and `left_out` counts the chains of others.

    Raises:
        DataError: An input is missing, empty, of no known format or has no good record; the alphabet cannot
            be detected; parts of a split are mixed; `out` is something else; or, with `fail`, a record is bad. Nothing
            was written.
    """
    start = time.monotonic()
    if on_error not in ("quarantine", "fail"):
        raise DataError(f"unknown on_error {on_error!r}", remedy="use quarantine or fail")
    target = _check_out(out)
    meaning = parse_labels(labels)
    command = command_of(inputs, out, format, alphabet, meaning, set)
    files = formats.expand(inputs, format)
    chosen, alphabet_from = choose_alphabet(files, alphabet, labels=meaning, command=command)
    with new_directory(target) as folder:
        tally, reading = Tally(chosen), _Reading(meaning, PartGuard(set, command), _prefixes(files))
        with _Parts(folder, chosen, row_group_size, rows_per_file) as parts:
            sources = [
                _take(path, name, tally, reading, parts, fail=on_error == "fail", progress=progress)
                for path, name in files
            ]
        reading.parts.finish(_where(files))
        if not tally.num_chains:
            raise _all_bad(files, tally, parts.first_bad, command)
        info = _info(chosen, tally, sources)
        digests = {path.name: sha256_file(path) for path in sorted(folder.glob("*.parquet"))}
        sealed.write_json(folder / DATASET_FILE, {**info, PARQUET_KEY: digests})
        counts = {key: value for key, value in info.items() if key not in ("format", "version", "versions")}
        summary = {"job": "ingest", "out": str(target), "alphabet_from": alphabet_from, **counts}
        summary |= {"set": reading.parts.wanted, "left_out": dict(sorted(reading.parts.left_out.items()))}
        summary["warnings"] = warnings(summary, command)
        summary["seconds"] = round(time.monotonic() - start, 3)
        write_json(folder / SUMMARY_FILE, summary)
    return summary


def _check_out(out: str | Path) -> Path:
    """Refuse a target unless it is new, empty, or an earlier data set with nothing else in it."""
    if "://" in str(out):
        raise DataError("a remote address", where=str(out), remedy="write to a local directory and copy it")
    path = Path(out)
    if str(path) == "-":
        raise DataError("a data set is a directory, no stream", where="--out -", remedy="name a directory")
    if not path.exists():
        return path
    if not path.is_dir():
        raise DataError("a file is there already", where=str(path), remedy="choose another --out")
    names = {entry.name for entry in path.iterdir()}
    if names and not _is_dataset(path):
        raise _occupied(path, f"no LiftRay data set, and holds {min(names)!r}")
    ours = {DATASET_FILE, QUARANTINE_FILE, SUMMARY_FILE}
    foreign = sorted(name for name in names - ours if not re.fullmatch(r"part-\d+\.parquet", name))
    if foreign:
        raise _occupied(path, f"a data set that also holds {foreign[0]!r}")
    return path


def _is_dataset(path: Path) -> bool:
    try:
        # A damaged one is still a data set that ingest may replace.
        info = read_json(path / DATASET_FILE)
    except DataError:
        return False
    return isinstance(info, dict) and info.get("format") == DATASET_FORMAT


def _occupied(path: Path, what: str) -> DataError:
    return DataError(
        f"the output directory is {what}", where=str(path), remedy="choose another --out, or empty it"
    )


def _take(
    path: Path,
    format: str,
    tally: Tally,
    reading: "_Reading",
    parts: "_Parts",
    *,
    fail: bool,
    progress: Callable[[int], object] | None,
) -> dict[str, Any]:
    """Read one file to its end; returns its entry in `dataset.json`."""
    taken = refused = 0
    for record in _checked(path, format, tally, reading):
        if isinstance(record, BadRecord):
            refused += 1
            if fail:
                raise _refusal(record)
            tally.refuse(record)
            parts.write_bad(record)
        else:
            taken += 1
            parts.write(record)
        if progress:
            progress(1)
    source = {
        "name": path.name,
        "format": format,
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
        "chains": taken,
        "quarantined": refused,
    }
    labels = companion(path, tally.alphabet) if format == "fasta" else None
    mask = mask_file(path) if labels else None
    companions = {name: other for name, other in (("labels", labels), ("mask", mask)) if other}
    return source | {
        name: {"name": other.name, "sha256": sha256_file(other)} for name, other in companions.items()
    }


@dataclass(frozen=True)
class _Reading:
    """What the user states about the files' labels, which part of a split is taken, and what ids get before them."""

    labels: Mapping[str, str]
    parts: PartGuard
    prefixes: Mapping[Path, str]


def _prefixes(files: list[tuple[Path, str]]) -> dict[Path, str]:
    return folder_prefixes([path for path, name in files if name == "structures"])


def _checked(path: Path, format: str, tally: Tally, reading: _Reading) -> Iterator[ProteinRecord | BadRecord]:
    records = formats.read(
        path, format=format, alphabet=tally.alphabet, labels=reading.labels, parts=reading.parts
    )
    for record in records:
        if path in reading.prefixes:
            record = replace(record, id=reading.prefixes[path] + record.id)
        if isinstance(record, BadRecord):
            yield record
        else:
            yield tally.add(record, str(path)) or record


def _refusal(bad: BadRecord) -> DataError:
    place = f"{bad.file} line {bad.line}" if bad.line else bad.file
    name = f" ({bad.id})" if bad.id else ""
    return DataError(
        f"{bad.reason}: {bad.detail}{name}", where=place, remedy="repair it, or use --on-error quarantine"
    )


def _where(files: list[tuple[Path, str]]) -> str:
    return ", ".join(str(path) for path, _ in files[:3]) + (", ..." if len(files) > 3 else "")


def _all_bad(
    files: list[tuple[Path, str]], tally: Tally, first: BadRecord | None, command: IngestCommand
) -> DataError:
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.bad.most_common(3))
    example = f"; the first, at line {first.line}: {first.detail}" if first else ""
    remedy = "check --format and --alphabet"
    if tally.foreign:
        remedy = alternatives(command, remedies(tally.alphabet, tally.foreign))
    return DataError(
        f"none of {tally.bad.total()} records can be taken as {tally.alphabet} ({reasons}{example})",
        where=_where(files),
        remedy=remedy,
    )


def _info(alphabet: str, tally: Tally, sources: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": DATASET_FORMAT,
        "version": DATASET_VERSION,
        "alphabet": alphabet,
        "states": STATES[alphabet],
        "assigned_by": _assigned_by(sources),
        **tally.info(),
        "sources": sources,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _assigned_by(sources: list[dict[str, Any]]) -> str | None:
    """Program and version that assigned states to structures; None where all labels were read from files."""
    if all(source["format"] != "structures" for source in sources):
        return None
    from liftray.data.formats import dssp

    return dssp.assigner()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


class _Parts:
    """Writes rows to numbered Parquet files, a row group at a time, and bad records to the quarantine."""

    def __init__(self, folder: Path, alphabet: str, row_group_size: int, rows_per_file: int) -> None:
        if row_group_size < 1 or rows_per_file < 1:
            raise DataError("row_group_size and rows_per_file must be at least 1")
        self.first_bad: BadRecord | None = None
        self._folder = folder
        self._schema = SCHEMA.with_metadata({ALPHABET_KEY: alphabet.encode("ascii")})
        self._row_group_size = row_group_size
        self._groups_per_file = -(-rows_per_file // row_group_size)
        self._rows: list[ProteinRecord] = []
        self._writer: pq.ParquetWriter | None = None
        self._groups = 0
        self._quarantine = (folder / QUARANTINE_FILE).open("w", encoding="utf-8")

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._quarantine.close()
            if self._writer:
                self._writer.close()

    def write(self, record: ProteinRecord) -> None:
        self._rows.append(record)
        if len(self._rows) == self._row_group_size:
            self._flush()

    def write_bad(self, bad: BadRecord) -> None:
        self.first_bad = self.first_bad or bad
        fields = {name: value for name, value in asdict(bad).items() if name != "labels" or value}
        self._quarantine.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None or self._groups % self._groups_per_file == 0:
            self._writer = self._next_file()
        columns = [
            [row.id for row in self._rows],
            [row.sequence for row in self._rows],
            [row.ss for row in self._rows],
            [len(row.ss) for row in self._rows],
            [row.source for row in self._rows],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._groups += 1
        self._rows.clear()

    def _next_file(self) -> pq.ParquetWriter:
        if self._writer:
            self._writer.close()
        name = f"part-{self._groups // self._groups_per_file:05d}.parquet"
        # Statistics of the text columns would repeat whole chains in the footer.
        return pq.ParquetWriter(
            self._folder / name,
            self._schema,
            compression="zstd",
            use_dictionary=["source"],
            write_statistics=["length"],
        )
