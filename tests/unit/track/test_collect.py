"""Evidence of several validation sets, of damaged tables and of scores that do not fit their chains."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray.track.promotion import collect

INFO: dict[str, Any] = {
    "task": "ss3",
    "data": {"valid": {"a": "d1", "b": "d2"}, "test": {"T": "d3"}},
    "metrics": {
        "valid/a": {"q3": 0.5, "sov99": 0.6, "ece": 0.01, "per_state": {"H": {"f1": 0.7, "true": 5}}},
        "valid/b": {"q3": 0.9, "sov99": 0.4, "ece": 0.05, "per_state": {"H": {"f1": 0.9, "true": 5}}},
        "T": {"q3": 0.25},
    },
    "leakage": {
        "valid/a": {"leaky": False, "share": 0.01},
        "valid/b": {"leaky": False, "share": 0.04},
        "T": {"leaky": True, "share": 0.5},
    },
}


def _write(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    return {
        "valid/a": _write(tmp_path / "a.parquet", id=["x", "y"], labelled=[10, 10], q3=[0.5, 0.5]),
        "valid/b": _write(tmp_path / "b.parquet", id=["x", "z"], labelled=[30, 0], q3=[0.9, None]),
        "test/T": _write(tmp_path / "T.parquet", id=["x"], labelled=[4], q3=[0.25]),
    }


def test_several_validation_sets_are_pooled_and_the_worst_speaks_for_the_floors(
    tables: dict[str, Path],
) -> None:
    found = collect.sets_evidence(INFO, tables, {})
    valid = found["valid"]
    assert valid.digests == ("d1", "d2")
    assert valid.score("q3") == pytest.approx((5 + 5 + 27) / 50)
    assert valid.scores["sov99"] == 0.4
    assert valid.scores["ece"] == 0.05
    assert valid.scores["per_state"]["H"]["f1"] == 0.7
    assert (valid.leaky, valid.leakage_share) == (False, 0.04)
    assert valid.chains is not None
    assert set(valid.chains.labelled) == {"valid/a/x", "valid/a/y", "valid/b/x", "valid/b/z"}
    assert (found["T"].leaky, found["T"].score("q3")) == (True, 0.25)


def test_what_was_measured_on_one_set_only_is_not_known_of_both(tables: dict[str, Path]) -> None:
    info = {**INFO, "leakage": {"valid/a": {"leaky": False, "share": 0.0}}}
    found = collect.sets_evidence(info, tables, {})
    assert found["valid"].leaky is None
    assert found["T"].leaky is None


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1"])
def test_a_damaged_table_is_no_evidence(tables: dict[str, Path], content: bytes) -> None:
    tables["valid/b"].write_bytes(content)
    assert collect.sets_evidence(INFO, tables, {})["valid"].chains is None


def test_a_table_without_the_score_is_no_evidence(tables: dict[str, Path], tmp_path: Path) -> None:
    tables["test/T"] = _write(tmp_path / "other.parquet", id=["x"], labelled=[4])
    assert collect.sets_evidence(INFO, tables, {})["T"].chains is None


def test_scores_that_the_chains_do_not_give_are_found(tables: dict[str, Path], tmp_path: Path) -> None:
    tables["test/T"] = _write(tmp_path / "T2.parquet", id=["x"], labelled=[4], q3=[0.75])
    inputs = [{"split": "valid", "name": "a", "digest": digest, "path": "p"} for digest in ("d1", "d2", "d3")]
    files = collect.files_evidence(tmp_path, INFO, {}, inputs, collect.sets_evidence(INFO, tables, {}))
    assert files.reasons == ("SCORES_CHANGED",)
    assert files.detail[0].startswith("T: ")
    fewer = collect.files_evidence(tmp_path, INFO, {}, inputs[:2], {})
    assert fewer.reasons == ("DATA_CHANGED",)
    assert collect.files_evidence(tmp_path, INFO, {}, [], {}).reasons == ("DATA_NOT_RECORDED",)
