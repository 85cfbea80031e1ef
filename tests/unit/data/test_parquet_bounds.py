"""A kilobyte of Parquet that means gigabytes is read within bounds, or refused with the limit."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray import limits
from liftray.data.dataset import ProteinDataset
from liftray.data.formats import read
from liftray.data.records import ALPHABET_KEY, SCHEMA, BadRecord
from liftray.errors import DataError
from liftray.files import write_json


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([value]))


def _table(value: str, rows: int, *, as_text: bool) -> pa.Table:
    columns = {name: _repeated(value, rows) for name in ("id", "sequence", "ss")}
    table = pa.table(columns)
    # Without Arrow's own schema a reader decodes the column to one copy of the value for each row.
    return table.cast(pa.schema([(name, pa.string()) for name in columns])) if as_text else table


@pytest.mark.parametrize("as_text", [True, False])
def test_a_long_value_repeated_for_each_row_is_held_once(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(_table("A" * 90_000, 700, as_text=as_text), path, store_schema=not as_text)
    assert path.stat().st_size < 100_000
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    try:
        records = sum(isinstance(record, BadRecord) for record in read(path, alphabet="ss3"))
        assert tracemalloc.get_traced_memory()[1] < limits.READER_MEMORY_BYTES / 2
    finally:
        tracemalloc.stop()
    assert records == 700
    grown = pa.default_memory_pool().max_memory() - before
    assert grown < limits.READER_MEMORY_BYTES / 2


def test_a_page_that_inflates_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    text = "A" * 13_000_000
    table = pa.table({"id": ["a"] * 4, "sequence": [text] * 4, "ss": [text] * 4})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match="row group 0: decodes to over 50,331,648 bytes"):
        list(read(path, alphabet="ss3"))


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{number}": ["a"] for number in range(limits.COLUMNS + 1)}), path)
    with pytest.raises(DataError, match="4,097 columns; 4,096 is the most"):
        list(read(path, alphabet="ss3"))


def test_two_columns_of_one_name_are_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    names = ["id", "sequence", "sequence", "ss"]
    pq.write_table(pa.table([pa.array(["a"])] * 4, names=names), path)
    with pytest.raises(DataError, match="column 'sequence' twice"):
        list(read(path, alphabet="ss3"))


def test_a_row_group_of_a_data_set_has_the_same_bound(tmp_path: Path) -> None:
    rows = 800
    columns = {
        "id": _repeated("a", rows),
        "sequence": _repeated("A" * 90_000, rows),
        "ss": _repeated("H" * 90_000, rows),
        "length": pa.array([90_000] * rows, pa.int32()),
        "source": _repeated("x", rows),
    }
    schema = SCHEMA.with_metadata({ALPHABET_KEY: b"ss3"})
    pq.write_table(pa.table(columns).cast(schema), tmp_path / "part-00000.parquet", compression="zstd")
    info = {"format": "liftray-dataset", "version": 1, "alphabet": "ss3", "digest": "", "num_chains": rows}
    write_json(tmp_path / "dataset.json", info)
    with pytest.raises(DataError, match="a row group of over 50,331,648 bytes"):
        ProteinDataset.open(tmp_path).read_row_group(0)
