"""A smaller data set: chosen by content, whatever the files and their order."""

import hashlib
from pathlib import Path

import pytest

from liftray.data import subset
from liftray.data.dataset import ProteinDataset
from liftray.errors import DataError
from tests.parts import tiny

_CHAINS = tiny.chains([20, 30, 40, 50, 60, 35], seed=4)


def _ids(path: str) -> set[str]:
    return {record.id for record in ProteinDataset.open(path).iter_records()}


def test_the_first_by_digest_are_taken_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    one = tiny.dataset(tmp_path / "a", _CHAINS)
    other = tiny.dataset(tmp_path / "b", _CHAINS[::-1], row_group_size=2)
    by_digest = sorted(_CHAINS, key=lambda chain: hashlib.sha256("\0".join(chain).encode()).hexdigest())
    taken = subset.take({"x": one}, 4, tmp_path / "out")
    assert set(taken) == {"x"}
    assert _ids(taken["x"]) == {name for name, _, _ in by_digest[:4]}
    again = subset.take({"x": other}, 4, tmp_path / "other")
    ours, theirs = ProteinDataset.open(taken["x"]), ProteinDataset.open(again["x"])
    assert ours.digest == theirs.digest
    assert ours.alphabet == "ss3"
    ours.verify()
    fewer = subset.take({"x": one}, 2, tmp_path / "fewer")
    assert _ids(fewer["x"]) < _ids(taken["x"])


def test_chains_are_counted_over_all_sets_and_a_set_without_any_is_left_out(tmp_path: Path) -> None:
    paths = {
        name: tiny.dataset(tmp_path / name, tiny.chains([30] * 8, seed=at, name=name))
        for at, name in enumerate("pq")
    }
    taken = subset.first_by_digest(paths, 10)
    assert sum(map(len, taken.values())) == 10
    assert set(subset.first_by_digest(paths, 1)) < {"p", "q"}
    assert {name: len(found) for name, found in subset.first_by_digest(paths, 99).items()} == {"p": 8, "q": 8}


def test_the_others_are_all_that_were_not_chosen(tmp_path: Path) -> None:
    path = tiny.dataset(tmp_path / "a", _CHAINS)
    first, others = subset.divide({"x": path}, 2, tmp_path / "first", tmp_path / "others")
    assert _ids(first["x"]) == {record.id for record in subset.first_by_digest({"x": path}, 2)["x"]}
    assert not _ids(first["x"]) & _ids(others["x"])
    assert _ids(first["x"]) | _ids(others["x"]) == _ids(path)
    assert subset.divide({"x": path}, 99, tmp_path / "all", tmp_path / "none")[1] == {}


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    path = tiny.dataset(tmp_path / "a", _CHAINS)
    out = tmp_path / "out"
    subset.take({"x": path}, 3, out)
    before = {file: file.stat().st_mtime_ns for file in (out / "x").iterdir()}
    subset.take({"x": path}, 3, out)
    assert {file: file.stat().st_mtime_ns for file in (out / "x").iterdir()} == before
    (out / "y").mkdir()
    (out / "y" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="no LiftRay data set"):
        subset.take({"y": path}, 3, out)
