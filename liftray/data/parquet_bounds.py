"""What a Parquet file may decode to: checked from its metadata before it is read, and for each batch after.

Invariant: a file is never decoded to more than `limits` allows for its size, whatever its metadata states. One value in
a dictionary can stand in any number of rows, so that a kilobyte of Parquet can mean a terabyte. Used by the Parquet
reader and by the data set.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from liftray import limits
from liftray.errors import DataError

# What pyarrow raises for damaged bytes; KeyError is that of a name which two columns have.
FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, KeyError, OverflowError)
# Few, since in some encodings each value repeats the one before it. Which ones a file has is not asked: pyarrow's
# description of a damaged column ends the process (25.0.1).
_ROWS = 64


def check(file: pq.ParquetFile, size: int, where: str) -> None:
    """Check what the metadata states.

    Args:
        file: The opened file.
        size: Its bytes.
        where: The file, for the error.

    Raises:
        DataError: More rows, columns or decoded bytes than `limits` allows.
    """
    metadata = file.metadata
    for what, number, most in (
        ("columns", metadata.num_columns, limits.COLUMNS),
        ("rows", metadata.num_rows, limits.PARQUET_ROWS),
    ):
        if not 0 <= number <= most:
            raise DataError(f"{number:,} {what}; {most:,} is the most", where=where, remedy="split it")
    most = allowed_bytes(size)
    for group in range(metadata.num_row_groups):
        stated = metadata.row_group(group).total_byte_size
        if not 0 <= stated <= most:
            raise _over(most, f"{where} row group {group}")


def allowed_bytes(size: int) -> int:
    """What a row group of a file of this size may decode to, as `limits` allows a compressed file to inflate."""
    return max(limits.INFLATION_FREE_BYTES, limits.INFLATION_RATIO * size)


def batches(
    file: pq.ParquetFile, columns: Sequence[str], size: int, where: str, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Decode chosen columns, some rows at a time; each batch is validated.

    Args:
        file: The opened file.
        columns: Names of the columns.
        size: Bytes of the file.
        where: The file, for the error.
        groups: Row groups to read; None for all.

    Yields:
        Batches in row order.

    Raises:
        DataError: A batch is over the limit.
    """
    most = allowed_bytes(size)
    chosen = list(range(file.num_row_groups)) if groups is None else list(groups)
    for batch in file.iter_batches(_ROWS, row_groups=chosen, columns=list(columns), use_threads=False):
        if batch.nbytes > most:
            raise _over(most, where)
        batch.validate(full=True)
        yield batch


def _over(most: int, where: str) -> DataError:
    return DataError(
        f"decodes to over {most:,} bytes",
        where=where,
        remedy="write it again with smaller row groups, and check that it is the right file",
    )
