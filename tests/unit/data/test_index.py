"""The index gives each window its place and the number of labelled residues that it scores."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liftray import sealed
from liftray.data import index, labels
from liftray.errors import DataError
from tests.parts import tiny

_SHAPE: Any = {"max_length": 100, "task": "ss3", "ss3_map": "dssp"}


@pytest.fixture(scope="module")
def members() -> dict[str, list[tiny.Chain]]:
    return {
        "b": tiny.chains([20, 300, 101, 99, 100, 7, 64], seed=1, alphabet="ss9", name="b"),
        "a": [*tiny.chains([40, 150, 30], seed=2, name="a"), ("blank", "MKTAYIAK", "X" * 8)],
    }


@pytest.fixture(scope="module")
def paths(members: dict[str, list[tiny.Chain]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("index")
    return {
        "b": tiny.dataset(root / "b", members["b"], "ss9", row_group_size=2, rows_per_file=4),
        "a": tiny.dataset(root / "a", members["a"], "ss3", row_group_size=3),
    }


def test_rows_run_over_the_data_sets_in_the_order_of_their_names(
    members: dict[str, list[tiny.Chain]], paths: dict[str, str]
) -> None:
    made = index.build(paths, **_SHAPE)
    reader = index.ChainReader(made, keep=1)
    expected = [(*chain[1:], "ss3") for chain in members["a"]] + [
        (*chain[1:], "ss9") for chain in members["b"]
    ]
    assert [reader.chain(row) for row in range(len(expected))] == expected
    backwards = [reader.chain(row) for row in reversed(range(len(expected)))]
    assert backwards[::-1] == expected
    assert made.groups.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 4, 5]
    assert made.group_starts.tolist() == [0, 3, 4, 6, 8, 10, 11]


def test_scored_counts_the_labels_of_each_window(
    members: dict[str, list[tiny.Chain]], paths: dict[str, str]
) -> None:
    made = index.build(paths, **_SHAPE)
    strings = [chain[2] for name in ("a", "b") for chain in members[name]]
    for window in range(len(made.scored)):
        part = strings[made.windows.row[window]][
            made.windows.score_start[window] : made.windows.score_stop[window]
        ]
        assert made.scored[window] == len(part) - part.count(labels.UNLABELLED)
    assert made.scored.sum() == sum(len(ss) - ss.count("X") for ss in strings)
    assert np.bincount(made.windows.row)[[1, 5]].tolist() == [2, 4]
    assert np.array_equal(made.row_groups, made.groups[made.windows.row])


@pytest.mark.parametrize("ss3_map", ["dssp", "lift"])
@pytest.mark.parametrize("task", ["ss9", "ss8", "ss3"])
def test_states_are_counted_over_all_data_sets(
    members: dict[str, list[tiny.Chain]], paths: dict[str, str], task: str, ss3_map: str
) -> None:
    chosen = {"b": paths["b"]} if task != "ss3" else paths
    made = index.build(chosen, max_length=100, task=task, ss3_map=ss3_map)
    alphabets = {"a": "ss3", "b": "ss9"}
    mapped = [
        labels.map_string(ss, alphabets[name], task, ss3_map) for name in chosen for _, _, ss in members[name]
    ]
    by_hand = ["".join(mapped).count(state) for state in labels.STATES[task]]
    assert made.class_counts(task, ss3_map) == by_hand
    assert min(by_hand) > 0


@pytest.mark.parametrize(
    "histogram", [None, {"C": 1}, {"C": 5, "E": 5, "H": "many"}, {"C": 10**9, "E": 1, "H": 1}, [1, 2, 3]]
)
def test_a_histogram_that_does_not_count_the_labels_is_refused(
    members: dict[str, list[tiny.Chain]], tmp_path: Path, histogram: Any
) -> None:
    path = Path(tiny.dataset(tmp_path, members["a"]))
    info = json.loads((path / "dataset.json").read_text())
    info["label_histogram"] = histogram
    sealed.write_json(path / "dataset.json", info)
    made = index.build({"a": str(path)}, **_SHAPE)
    with pytest.raises(DataError, match="label histogram does not count the labels") as caught:
        made.class_counts("ss3", "dssp")
    assert str(path) in str(caught.value)


def test_a_reader_keeps_the_row_groups_used_last_and_no_more(paths: dict[str, str], tmp_path: Path) -> None:
    own = {name: shutil.copytree(path, tmp_path / name) for name, path in paths.items()}
    made = index.build({name: str(path) for name, path in own.items()}, **_SHAPE)
    rows = [int(row) for row in np.unique(made.groups, return_index=True)[1]]  # one chain of each row group
    assert len(rows) > 3
    reader = index.ChainReader(made, keep=2)
    chains = [reader.chain(row) for row in rows]
    for path in own.values():
        for file in path.glob("*.parquet"):
            file.unlink()
    assert [reader.chain(row) for row in rows[-2:]] == chains[-2:]
    with pytest.raises(DataError):
        reader.chain(rows[0])


def test_no_data_set_gives_an_empty_index() -> None:
    made = index.build({}, **_SHAPE)
    assert made.scored.shape == made.groups.shape == (0,)
    assert made.windows.row.shape == (0,)


def test_labels_never_map_up(paths: dict[str, str]) -> None:
    with pytest.raises(DataError, match="cannot be mapped up") as caught:
        index.build(paths, max_length=100, task="ss8", ss3_map="dssp")
    assert caught.value.where == paths["a"]


def test_a_split_without_labels_is_refused(tmp_path: Path) -> None:
    path = tiny.dataset(tmp_path, [("one", "MKTAYIAK", "XXXXXXXX")])
    with pytest.raises(DataError, match="no labelled residue"):
        index.build({"only": path}, **_SHAPE)


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        index.build({"only": str(tmp_path / "absent")}, **_SHAPE)
