from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.track.promotion import replay
from liftray.track.promotion.replay import EvaluatedSet, differing


def _table(**columns: list[object]) -> pa.Table:
    return pa.table({"id": ["a", "b"], **columns})


def test_equal_tables_do_not_differ_whatever_else_one_of_them_holds() -> None:
    stored = _table(labelled=[10, 20], q3=[0.5, None], nll=[0.7, None], old=[1, 2])
    again = _table(labelled=[10, 20], q3=[0.5 + 1e-15, None], nll=[0.7 + 1e-7, None], new=["x", "y"])
    assert differing(stored, again) == []


@pytest.mark.parametrize(
    ("again", "chains"),
    [
        (_table(labelled=[10, 21], q3=[0.5, 0.7]), ["b"]),
        (_table(labelled=[10, 20], q3=[0.5 + 1e-6, 0.7]), ["a"]),
        (_table(labelled=[10, 20], q3=[None, 0.7]), ["a"]),
        (_table(labelled=[10, 20], nll=[0.9, 0.8]), ["b"]),
        (pa.table({"id": ["a"], "labelled": [10], "q3": [0.5]}), ["b"]),
        (pa.table({"id": ["a", "b", "c"], "labelled": [10, 20, 3], "q3": [0.5, 0.7, 0.1]}), ["c"]),
    ],
)
def test_every_chain_that_differs_is_named(again: pa.Table, chains: list[str]) -> None:
    assert differing(_table(labelled=[10, 20], q3=[0.5, 0.7], nll=[0.9, 0.9]), again) == chains


def _predicted(confidence: float, right: int, wrong: int) -> PredictedSet:
    rest = (1 - confidence) / 2
    probabilities_LC = np.tile(np.array([[confidence, rest, rest]], dtype=np.float32), (right + wrong + 1, 1))
    true_L = np.array([0] * right + [1] * wrong + [-100], dtype=np.int64)
    return PredictedSet([ScoredChain("a", "A" * len(true_L), true_L, probabilities_LC)], "ss3")


def test_calibration_error_of_known_cases() -> None:
    assert replay.calibration_error([_predicted(0.8, 150, 0)]) == pytest.approx(0.2, abs=1e-6)
    assert replay.calibration_error([_predicted(1.0, 0, 150)]) == pytest.approx(1.0)
    assert replay.calibration_error([_predicted(0.6, 15, 0), _predicted(1.0, 30, 0)]) == pytest.approx(
        0.4 / 3, abs=1e-6
    )
    assert replay.calibration_error([]) is None


def test_a_process_that_gives_no_answer_is_an_answer() -> None:
    found = replay.replay(Path("/absent"), [EvaluatedSet("a", None, "d", "t")], timeout_s=0.001)
    assert found.reasons == ("REPLAY_FAILED",)
