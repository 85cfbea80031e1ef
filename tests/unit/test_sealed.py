import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray import sealed
from liftray.errors import BundleError, DataError

_CONTENT = {"name": "é", "list": [1, 2.5, None], "deep": {"digest": "sha256:" + "0" * 64}}


def _changed(raw: bytes) -> list[bytes]:
    """Each byte of the file changed once, and the file cut at each place."""
    draw = random.Random(0)
    flipped = [raw[:at] + bytes([raw[at] ^ draw.randrange(1, 256)]) + raw[at + 1 :] for at in range(len(raw))]
    return flipped + [raw[:at] for at in range(len(raw))]


def test_json_comes_back_without_its_seal(tmp_path: Path) -> None:
    written = sealed.write_json(tmp_path / "a.json", _CONTENT)
    assert sealed.read_json(tmp_path / "a.json") == _CONTENT
    assert sealed.read_json(tmp_path / "a.json", with_seal=True) == written
    assert json.loads((tmp_path / "a.json").read_text()) == written
    assert sealed.KEY in (tmp_path / "a.json").read_text()


def test_every_changed_byte_and_every_cut_of_json_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    sealed.write_json(file, _CONTENT)
    passed = 0
    for raw in _changed(file.read_bytes()):
        try:
            sealed.parse_json(raw, "a.json")
            passed += 1
        except DataError:
            continue
    assert passed == 0


def test_every_changed_byte_and_every_cut_of_a_table_is_found(tmp_path: Path) -> None:
    file, damaged = tmp_path / "a.parquet", tmp_path / "b.parquet"
    sealed.write_table(file, pa.table({"id": ["one"], "score": [0.5]}))
    passed = 0
    for raw in _changed(file.read_bytes())[::3]:
        damaged.write_bytes(raw)
        try:
            sealed.read_table(damaged)
            passed += 1
        except DataError:
            continue
    assert passed == 0


def test_a_table_keeps_its_metadata_and_other_readers_read_it(tmp_path: Path) -> None:
    table = pa.table({"id": ["one"], "score": [0.5]}).replace_schema_metadata({b"of": b"test"})
    sealed.write_table(tmp_path / "a.parquet", table)
    assert sealed.read_table(tmp_path / "a.parquet", ["score"]).to_pydict() == {"score": [0.5]}
    assert (sealed.read_table(tmp_path / "a.parquet").schema.metadata or {})[b"of"] == b"test"
    assert pq.read_table(tmp_path / "a.parquet").equals(table)


def test_a_file_without_a_seal_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    assert sealed.read_json(tmp_path / "a.json") == {"a": 1}
    assert sealed.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [1]}


def test_the_error_is_the_caller_s_and_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{")
    with pytest.raises(BundleError, match=r"a\.json: not .*JSON.*; fetch it"):
        sealed.read_json(file, BundleError, remedy="fetch it")
    with pytest.raises(FileNotFoundError):
        sealed.read_json(tmp_path / "absent.json")
    sealed.write_table(file, pa.table({"a": [1]}))
    with pytest.raises(DataError, match="no column 'c'"):
        sealed.read_table(file, ["c"])


def test_json_that_a_program_wrote_again_in_one_line_is_read(tmp_path: Path) -> None:
    written = sealed.write_json(tmp_path / "a.json", _CONTENT)
    (tmp_path / "a.json").write_text(json.dumps({**written, "name": "other"}))
    assert sealed.read_json(tmp_path / "a.json") == {**_CONTENT, "name": "other"}
