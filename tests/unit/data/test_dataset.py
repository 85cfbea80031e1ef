"""An ingested data set as later stages read it."""

import json
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray import sealed
from liftray.data.dataset import ProteinDataset, describe_sets
from liftray.data.ingest import ingest
from liftray.data.records import SCHEMA
from liftray.errors import DataError

LABELS = ["LHX", "EEEE", "XX", "HHHHH", "L", "XLX", "TTSS"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Seven chains in row groups of two, two groups a file."""
    text = "".join(f">c{n}\n{'A' * len(ss)}\n{ss}\n" for n, ss in enumerate(LABELS))
    (tmp_path / "x.ss9.txt").write_text(text)
    ingest([tmp_path / "x.ss9.txt"], tmp_path / "data", row_group_size=2, rows_per_file=4)
    return tmp_path / "data"


@pytest.mark.parametrize("form", [str, Path, lambda path: f"{path}/", lambda path: path.as_uri()])
def test_open(stored: Path, form: type) -> None:
    data = ProteinDataset.open(form(stored))
    assert (data.alphabet, data.num_chains, data.num_row_groups) == ("ss9", 7, 4)
    assert data.digest == data.info["digest"]
    assert data.digest.startswith("sha256:")
    assert [record.ss for record in data.iter_records()] == LABELS


def test_index_is_in_row_order(stored: Path) -> None:
    index = ProteinDataset.open(stored).index()
    np.testing.assert_array_equal(index.lengths, [3, 4, 2, 5, 1, 3, 4])
    np.testing.assert_array_equal(index.labelled, [2, 4, 0, 5, 1, 1, 4])
    np.testing.assert_array_equal(index.row_group, [0, 0, 1, 1, 2, 2, 3])
    assert {array.dtype for array in (index.lengths, index.labelled, index.row_group)} == {np.dtype(np.int32)}


def test_row_groups_are_numbered_over_files(stored: Path) -> None:
    data = ProteinDataset.open(stored)
    ids = [data.read_row_group(number, ["id"]).column("id").to_pylist() for number in range(4)]
    assert ids == [["c0", "c1"], ["c2", "c3"], ["c4", "c5"], ["c6"]]
    assert data.read_row_group(0).schema.equals(SCHEMA)
    for number in (-1, 4):
        with pytest.raises(IndexError):
            data.read_row_group(number)


def test_travels_as_metadata(stored: Path) -> None:
    data = ProteinDataset.open(stored)
    packed = pickle.dumps(data)  # as Ray sends it to its workers
    assert len(packed) < 5000
    assert list(pickle.loads(packed).iter_records()) == list(data.iter_records())


def test_verify(stored: Path) -> None:
    data = ProteinDataset.open(stored)
    data.verify()
    _without_digests(stored)
    part = stored / data.files[0]
    table = pq.read_table(part)
    labels = table.column("ss").to_pylist()
    labels[0] = "LHH"
    pq.write_table(table.set_column(2, SCHEMA.field("ss"), pa.array(labels, pa.large_string())), part)
    with pytest.raises(DataError, match=r"content digest.*dataset\.json records"):
        ProteinDataset.open(stored).verify()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set.*liftray ingest"):
        ProteinDataset.open(tmp_path / "none")
    with pytest.raises(DataError, match="unusable address"):
        ProteinDataset.open("nosuch://bucket/data")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "other"}, "not that of a LiftRay data set"),
        ({"version": 99}, "version 99"),
        ({"alphabet": "ss7"}, "no valid 'alphabet'"),
        ({"alphabet": "ss8"}, "labels are ss9, but dataset.json records ss8"),
        ({"num_chains": None}, "no valid 'num_chains'"),
        ({"num_chains": 8}, "7 rows, but dataset.json records 8"),
        ({"digest": 5}, "no valid 'digest'"),
    ],
)
def test_dataset_json_that_does_not_fit(stored: Path, change: dict[str, object], match: str) -> None:
    path = stored / "dataset.json"
    sealed.write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(DataError, match=match):
        ProteinDataset.open(stored)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_dataset_json_that_is_none(stored: Path, content: str) -> None:
    (stored / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json"):
        ProteinDataset.open(stored)


def test_lost_damaged_and_foreign_parts(stored: Path, tmp_path: Path) -> None:
    _without_digests(stored)
    whole = tmp_path / "whole"
    shutil.copytree(stored, whole)
    (stored / "part-00001.parquet").unlink()
    with pytest.raises(DataError, match="4 rows, but"):
        ProteinDataset.open(stored)
    (stored / "part-00000.parquet").unlink()
    with pytest.raises(DataError, match="no Parquet files"):
        ProteinDataset.open(stored)
    (whole / "part-00000.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="unreadable Parquet"):
        ProteinDataset.open(whole)
    pq.write_table(pa.table({"id": ["a"], "sequence": ["A"]}), whole / "part-00000.parquet")
    with pytest.raises(DataError, match="column 'sequence' is string, not large_string"):
        ProteinDataset.open(whole)


def _without_digests(stored: Path) -> None:
    """As version 0.1 wrote it."""
    info = sealed.read_json(stored / "dataset.json")
    del info["parquet_sha256"]
    (stored / "dataset.json").write_text(json.dumps(info))


def test_a_changed_missing_or_added_file_is_found_before_a_row_is_read(stored: Path) -> None:
    part, other = stored / "part-00000.parquet", stored / "part-00001.parquet"
    data, raw = ProteinDataset.open(stored), part.read_bytes()
    part.write_bytes(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    with pytest.raises(
        DataError, match=r"part-00000\.parquet: damaged Parquet: it has changed since it was written"
    ):
        ProteinDataset.open(stored)
    with pytest.raises(DataError, match="it has changed"):
        data.read_row_group(0)
    part.write_bytes(raw)
    shutil.copyfile(part, stored / "part-00002.parquet")
    with pytest.raises(DataError, match=r"part-00002\.parquet is not of the data set"):
        ProteinDataset.open(stored)
    (stored / "part-00002.parquet").unlink()
    other.unlink()
    with pytest.raises(DataError, match=r"part-00001\.parquet is missing"):
        ProteinDataset.open(stored)


def test_nulls_are_refused(stored: Path) -> None:
    _without_digests(stored)
    part = stored / "part-00000.parquet"
    table = pq.read_table(part)
    nulls = pa.array([None, *table.column("ss").to_pylist()[1:]], pa.large_string())
    pq.write_table(table.set_column(2, pa.field("ss", pa.large_string()), nulls), part)
    with pytest.raises(DataError, match="column 'ss' holds nulls"):
        ProteinDataset.open(stored).index()


def test_length_column_that_lies(stored: Path) -> None:
    _without_digests(stored)
    part = stored / "part-00000.parquet"
    table = pq.read_table(part)
    lengths = pa.array([3, 4, 2, 6], pa.int32())
    pq.write_table(table.set_column(3, SCHEMA.field("length"), lengths), part)
    with pytest.raises(DataError, match=r"row group 0: column 'length' differs"):
        ProteinDataset.open(stored).index()


def test_a_run_lists_every_data_set_that_it_uses(stored: Path) -> None:
    line = describe_sets(
        {"train": {"sample": str(stored), "mine": str(stored)}, "valid": {}, "test": {"t": str(stored)}}
    )
    assert (
        line
        == f"data: train sample 7 chains ({stored}), mine 7 chains ({stored}); test t 7 chains ({stored})"
    )


def test_a_store_that_does_not_answer_ends_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # it accepts, and says nothing
        port = server.getsockname()[1]
        address = f"s3://bucket/d?scheme=http&endpoint_override=127.0.0.1:{port}&region=x"
        with pytest.raises(
            DataError, match="no answer in 0 s; check the address, the network and the credentials"
        ):
            ProteinDataset.open(address, limit_s=0.2)


def test_an_address_with_a_credential_is_refused_and_not_shown() -> None:
    with pytest.raises(DataError, match="the address holds a user name or password") as caught:
        ProteinDataset.open("s3://KEY:hushhush@bucket/d")
    assert "hushhush" not in str(caught.value)
