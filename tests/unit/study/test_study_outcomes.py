"""What runs scored, read chain by chain."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray.data.labels import encode
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.metrics import collect
from liftray.study import held_out, outcomes
from liftray.study.outcomes import pooled, read


def _table(
    file: Path, q3: list[float | None], labelled: list[int], ids: str = "abc", **more: list[float]
) -> Path:
    columns = {"id": list(ids), "labelled": pa.array(labelled, pa.int32()), "q3": q3, **more}
    pq.write_table(pa.table(columns), file)
    return file


def test_counts_come_back_and_chains_without_a_label_are_left_out(tmp_path: Path) -> None:
    files = [
        _table(tmp_path / "0", [2 / 3, None, 0.5], [3, 0, 4], sov99=[0.5, 0.0, 1.0]),
        _table(tmp_path / "1", [1 / 3, None, 1.0], [3, 0, 4], sov99=[0.25, 0.0, 0.5]),
    ]
    result = read(files)
    assert set(result) == {"q3", "sov99"}
    assert result["q3"].chains == ("a", "c")
    assert result["q3"].hits_JN.tolist() == [[2, 2], [1, 4]]
    assert result["q3"].size_N.tolist() == [3, 4]
    # SOV counts each chain alike.
    assert result["sov99"].score == pytest.approx((0.5 + 1.0 + 0.25 + 0.5) / 4)


@pytest.mark.parametrize(("ids", "labelled"), [("abd", [3, 1, 4]), ("abc", [3, 2, 4])])
def test_runs_that_were_scored_on_other_chains_are_refused(
    tmp_path: Path, ids: str, labelled: list[int]
) -> None:
    files = [_table(tmp_path / "0", [1, 1, 1], [3, 1, 4]), _table(tmp_path / "1", [1, 1, 1], labelled, ids)]
    with pytest.raises(DataError, match="different chains"):
        read(files)


def test_sets_are_pooled_by_their_residues_and_names(tmp_path: Path) -> None:
    one = read([_table(tmp_path / "0", [1.0, 0.5, 0.5], [2, 2, 4], q9=[0.0, 0.0, 0.0])])
    other = read([_table(tmp_path / "1", [0.25, 0.0, 0.0], [8, 2, 2])])
    both = pooled({"S": one, "T": other})
    assert set(both) == {"q3"}, "a score that one set lacks"
    assert both["q3"].chains == ("S/a", "S/b", "S/c", "T/a", "T/b", "T/c")
    assert both["q3"].score == pytest.approx((2 + 1 + 2 + 2) / 20)


def test_what_a_run_writes_is_read_as_the_set_was_scored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chains = []
    for name, states in (("a", "LHHHHLEEEX"), ("b", "XXXX"), ("c", "GIHTSPBEL")):
        scores = rng.random((len(states), 9)).astype(np.float32)
        chains.append(
            ScoredChain(
                name, "A" * len(states), encode(states, "ss9"), scores / scores.sum(axis=1, keepdims=True)
            )
        )
    predicted = PredictedSet(chains, "ss9")
    held_out.write(tmp_path / "x" / "T.parquet", predicted, "sha256:abc")
    assert held_out.digest_of(tmp_path / "x" / "T.parquet") == "sha256:abc"
    result = read([tmp_path / "x" / "T.parquet"])
    statistics = collect(predicted)
    scored = statistics.scores(statistics.matrix_NK.sum(axis=0, keepdims=True))
    assert set(result) == {*outcomes.ACCURACIES, "sov99"}
    for score in outcomes.ACCURACIES:
        assert result[score].score == pytest.approx(scored[score][0])
    assert result["sov99"].score == pytest.approx(scored["sov99_chain_mean"][0])
