"""A Parquet data set as later stages read it: checked when it is opened, then read one row group at a time.

Invariant: rows have one canonical order (files by name, then their own order), so a row number names the same
chain on every machine. Nothing larger than a row group is in memory, except `index` with 12 bytes a chain.
Flow: ingest -> Parquet -> [this] -> packing, feed, evaluation. An object holds
the path and the metadata only, so it is cheap to send to Ray workers; files are opened when they are read.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from liftray import limits, sealed
from liftray.data import parquet_bounds, remote
from liftray.data.digest import ContentDigest
from liftray.data.labels import STATES, UNLABELLED
from liftray.data.part_files import (
    DATASET_FILE,
    INGEST_AGAIN,
    PARQUET_KEY,
    compare,
    filesystem_of,
    list_files,
    written_files,
)
from liftray.data.records import ALPHABET_KEY, SCHEMA, ProteinRecord
from liftray.errors import DataError
from liftray.paths import is_address
from liftray.redaction import REMEDY, credential

DATASET_FORMAT = "liftray-dataset"
DATASET_VERSION = 1


@dataclass(frozen=True, slots=True)
class ChainIndex:
    """What is known of each of N chains without its letters, in canonical row order.

    Attributes:
        lengths: (N,) int32, residues.
        labelled: (N,) int32, residues whose label is not `X`.
        row_group: (N,) int32, number of the row group over all files.
    """

    lengths: npt.NDArray[np.int32]
    labelled: npt.NDArray[np.int32]
    row_group: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ProteinDataset:
    """An ingested data set.

    Attributes:
        path: Local directory or `pyarrow.fs` URI.
        alphabet: Name of the label alphabet.
        digest: Content digest from `dataset.json`; `verify` computes it again.
        num_chains: Rows.
        info: All of `dataset.json`.
        files: Names of the Parquet files, sorted.
        row_groups: Row groups in each of them.
    """

    path: str
    alphabet: str
    digest: str
    num_chains: int
    info: dict[str, Any]
    files: tuple[str, ...]
    row_groups: tuple[int, ...]

    @classmethod
    def open(cls, path: str | object, *, limit_s: float = remote.LIMIT_S) -> Self:
        """Open a data set and check that its parts belong together.

        Args:
            path: Directory that `ingest` wrote, or its URI (`s3://bucket/folder`).
            limit_s: Seconds in which the store of a URI must answer.

        Raises:
            DataError: It is missing, not a data set, of a newer version, its files do not fit `dataset.json`, or its
                store does not answer.
        """
        where = str(path)
        if kind := credential(where):
            raise DataError(f"the address holds {kind}", where=where, remedy=REMEDY)
        filesystem, root = filesystem_of(where)
        if is_address(where):
            info = remote.answered(lambda: _read_info(filesystem, root, where), where, limit_s)
        else:
            info = _read_info(filesystem, root, where)
        files = list_files(filesystem, root, where)
        written = written_files(info, files, where)
        rows, groups = 0, []
        for name in files:
            compare(filesystem, f"{root}/{name}", where, written.get(name))
            with _open_file(filesystem, f"{root}/{name}", where) as file:
                _check_schema(file.schema_arrow, info["alphabet"], f"{where}/{name}")
                rows += file.metadata.num_rows
                groups.append(file.num_row_groups)
        if rows != info["num_chains"]:
            raise DataError(
                f"{rows} rows, but dataset.json records {info['num_chains']}",
                where=where,
                remedy=INGEST_AGAIN,
            )
        return cls(where, info["alphabet"], info["digest"], rows, info, tuple(files), tuple(groups))

    @property
    def num_row_groups(self) -> int:
        """Row groups over all files."""
        return sum(self.row_groups)

    def read_row_group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Read one row group.

        Args:
            number: Its number over all files, from 0.
            columns: Names of the columns; None for all.

        Returns:
            Its rows, with the requested columns of `SCHEMA`.

        Raises:
            IndexError: There is no such row group.
            DataError: It cannot be read, or holds invalid data.
        """
        if not 0 <= number < self.num_row_groups:
            raise IndexError(f"row group {number} of {self.num_row_groups} in {self.path}")
        ends = list(accumulate(self.row_groups))
        at = bisect_right(ends, number)
        filesystem, root = filesystem_of(self.path)
        name = f"{root}/{self.files[at]}"
        compare(filesystem, name, self.path, self.info.get(PARQUET_KEY, {}).get(self.files[at]))
        size = filesystem.get_file_info(name).size or 0
        try:
            with _open_file(filesystem, name, self.path) as file:
                wanted = columns or SCHEMA.names
                most, held, parts = parquet_bounds.allowed_bytes(size), 0, []
                for part in parquet_bounds.batches(
                    file, wanted, size, name, [number - ends[at] + self.row_groups[at]]
                ):
                    held += part.nbytes
                    if held > most:
                        raise DataError(
                            f"a row group of over {most:,} bytes", where=name, remedy=INGEST_AGAIN
                        )
                    parts.append(part)
                schema = pa.schema([file.schema_arrow.field(one) for one in wanted])
                table = pa.Table.from_batches(parts, schema).combine_chunks()
        except DataError:
            raise
        except parquet_bounds.FAULTS as error:
            raise DataError(f"unreadable Parquet ({error})", where=name, remedy=INGEST_AGAIN) from error
        for column in table.column_names:
            if table.column(column).null_count:
                raise DataError(f"column {column!r} holds nulls", where=name, remedy=INGEST_AGAIN)
        return table

    def index(self) -> ChainIndex:
        """Read the lengths and the numbers of labels of all chains, a row group at a time.

        Raises:
            DataError: A chain's `length` is not that of its labels.
        """
        lengths, labelled, groups = [], [], []
        for number in range(self.num_row_groups):
            table = self.read_row_group(number, ["length", "ss"])
            length = table.column("length").to_numpy().astype(np.int32)
            found, with_label = _count_labels(table.column("ss").combine_chunks())
            if not np.array_equal(found, length):
                raise DataError(
                    "column 'length' differs from the labels",
                    where=f"{self.path} row group {number}",
                    remedy=INGEST_AGAIN,
                )
            lengths.append(length)
            labelled.append(with_label)
            groups.append(np.full(len(length), number, dtype=np.int32))
        return ChainIndex(np.concatenate(lengths), np.concatenate(labelled), np.concatenate(groups))

    def iter_records(self) -> Iterator[ProteinRecord]:
        """Yield all chains in canonical row order, holding one row group."""
        for number in range(self.num_row_groups):
            table = self.read_row_group(number, ["id", "sequence", "ss", "source"])
            for row in table.to_pylist():
                yield ProteinRecord(row["id"], row["sequence"], row["ss"], row["source"])

    def verify(self) -> None:
        """Compute the content digest again and compare.

        Raises:
            DataError: It is not the one in `dataset.json`: the data were changed or damaged.
        """
        digest = ContentDigest()
        for record in self.iter_records():
            digest.add(record.id, record.sequence, record.ss)
        found = digest.hexdigest(self.alphabet)
        if found != self.digest:
            raise DataError(
                f"content digest {found}, but dataset.json records {self.digest}",
                where=self.path,
                remedy=INGEST_AGAIN,
            )


def describe_sets(splits: Mapping[str, Mapping[str, str]]) -> str:
    """One line that names every data set of a run and its chains, so that none is used unnoticed.

    Args:
        splits: Split -> name of the data set -> its path.

    Returns:
        Such as `data: train mine 90 chains (data/mine); valid mine 21 chains (data/mine_valid)`.

    Raises:
        DataError: A data set is missing or damaged.
    """
    parts = []
    for split, sets in splits.items():
        listed = [
            f"{name} {ProteinDataset.open(path).num_chains:,} chains ({path})" for name, path in sets.items()
        ]
        if listed:
            parts.append(f"{split} {', '.join(listed)}")
    return f"data: {'; '.join(parts)}"


def _count_labels(
    ss: pa.Array,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Lengths and numbers of non-`X` labels of a large_string array, from its buffers."""
    ss = pa.concat_arrays([ss.cast(pa.large_string())])
    _, offset_buffer, text = ss.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[ss.offset : ss.offset + len(ss) + 1]
    letters = np.frombuffer(text, dtype=np.uint8)[offsets[0] : offsets[-1]]
    seen = np.concatenate([[0], np.cumsum(letters != ord(UNLABELLED))])
    ends = offsets - offsets[0]
    return np.diff(ends).astype(np.int32), np.diff(seen[ends]).astype(np.int32)


def _read_info(filesystem: pafs.FileSystem, root: str, where: str) -> dict[str, Any]:
    name = f"{root}/{DATASET_FILE}"
    try:
        found = filesystem.get_file_info(name)
        if found.type == pafs.FileType.NotFound:
            remedy = "make one with 'liftray ingest'"
            raise DataError(f"no data set: no {DATASET_FILE}", where=where, remedy=remedy)
        if not found.is_file or (found.size or 0) > limits.JSON_BYTES:
            what = f"{DATASET_FILE} is no file, or over {limits.JSON_BYTES:,} bytes"
            raise DataError(what, where=where, remedy=INGEST_AGAIN)
        with filesystem.open_input_stream(name, compression=None) as file:
            content = file.read(limits.JSON_BYTES)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"unreadable {DATASET_FILE} ({error})", where=where, remedy=INGEST_AGAIN) from error
    info = sealed.parse_json(content, f"{where}/{DATASET_FILE}", remedy=INGEST_AGAIN)
    if info.get("format") != DATASET_FORMAT:
        raise DataError(f"{DATASET_FILE} is not that of a LiftRay data set", where=where, remedy=INGEST_AGAIN)
    if info.get("version") != DATASET_VERSION:
        raise DataError(
            f"data set version {info.get('version')}; this LiftRay reads {DATASET_VERSION}",
            where=where,
            remedy=INGEST_AGAIN,
        )
    wanted = {"alphabet": str, "digest": str, "num_chains": int}
    wrong = [key for key, kind in wanted.items() if type(info.get(key)) is not kind]
    if wrong or info["alphabet"] not in STATES:
        key = wrong[0] if wrong else "alphabet"
        raise DataError(f"{DATASET_FILE} has no valid {key!r}", where=where, remedy=INGEST_AGAIN)
    return info


def _open_file(filesystem: pafs.FileSystem, name: str, where: str) -> pq.ParquetFile:
    try:
        found = filesystem.get_file_info(name)
        if not found.is_file:
            raise DataError("no regular file", where=name, remedy=INGEST_AGAIN)
        file = pq.ParquetFile(name, filesystem=filesystem)
        parquet_bounds.check(file, found.size or 0, name)
        file.schema_arrow  # noqa: B018 - its names may not be UTF-8
    except DataError:
        raise
    except parquet_bounds.FAULTS as error:
        raise DataError(f"unreadable Parquet ({error})", where=name, remedy=INGEST_AGAIN) from error
    return file


def _check_schema(schema: pa.Schema, alphabet: str, where: str) -> None:
    for field in SCHEMA:
        at = schema.get_field_index(field.name)
        kind = schema.field(at).type if at >= 0 else "missing"
        if kind != field.type:
            raise DataError(
                f"column {field.name!r} is {kind}, not {field.type}", where=where, remedy=INGEST_AGAIN
            )
    named = (schema.metadata or {}).get(ALPHABET_KEY, b"").decode("ascii", "replace")
    if named != alphabet:
        raise DataError(
            f"labels are {named or 'of no named alphabet'}, but dataset.json records {alphabet}",
            where=where,
            remedy=INGEST_AGAIN,
        )
