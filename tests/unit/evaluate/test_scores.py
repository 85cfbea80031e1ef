import json

import numpy as np
import pytest

from liftray.data.labels import IGNORE_INDEX
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.scores import score_set


def test_score_set_has_the_shape_of_the_interface(random_set):
    predicted = random_set("ss9", num_chains=20)
    result = json.loads(json.dumps(score_set(predicted), allow_nan=False))
    for score in (
        "q9", "q8", "q3", "q3_dssp", "q3_lift", "macro_f1", "mcc", "sov99", "sov_refine", "sov99_ss9", "q3_chain_mean",
        "brier", "ece",
    ):  # fmt: skip
        low, high = result[f"{score}_ci95"]
        assert -1.0 <= low <= result[score] <= high <= 1.0
        assert low < high
    assert result["num_chains"] == 20
    assert result["num_residues"] == int((predicted.true_T != IGNORE_INDEX).sum())
    assert np.sum(result["confusion"]["counts"]) == result["num_residues"]
    assert result["confusion"]["states"] == "LBEGIHSTP"
    scored = {"precision", "recall", "f1", "mcc", "sov99", "sov_refine"}
    assert result["per_state"]["H"].keys() == {
        "true",
        "predicted",
        *scored,
        *(f"{name}_ci95" for name in scored),
    }
    for score in ("sov99", "sov_refine"):
        assert result[f"{score}_per_state"].keys() == set("CEH")
        assert result[f"{score}_per_state"]["H"].keys() == {score, f"{score}_ci95"}
    assert not [name for name in result if ":" in name]


def test_the_order_of_the_chains_does_not_change_an_interval(random_set):
    predicted = random_set("ss3")
    turned = PredictedSet(list(reversed(predicted.chains)), "ss3")
    assert score_set(turned)["q3_ci95"] == score_set(predicted)["q3_ci95"]


def test_one_chain_has_scores_but_no_interval(random_set):
    one = random_set("ss3", num_chains=1)
    result = score_set(one)
    assert result["q3"] > 0
    assert result["q3_ci95"] is None
    assert result["per_state"]["H"]["f1_ci95"] is None


def test_absent_states_are_named_and_have_no_sov(random_set):
    eye = np.eye(3, dtype=np.float32)
    codes = np.array([0, 0, 2, 2])
    chains = [ScoredChain(name, "AAAA", codes, eye[codes]) for name in "ab"]
    result = score_set(PredictedSet(chains, "ss3"))
    assert result["absent_states"] == ["E"]
    assert result["sov99_per_state"]["E"] == {"sov99": None, "sov99_ci95": None}
    assert result["sov99"] == 1.0


def test_unlabelled_chains_widen_nothing(random_set):
    predicted = random_set("ss3")
    blank = ScoredChain("blank", "AA", np.full(2, IGNORE_INDEX), np.full((2, 3), 1 / 3, np.float32))
    with_blank = score_set(PredictedSet([*predicted.chains, blank], "ss3"))
    alone = score_set(predicted)
    assert with_blank.pop("num_chains") == alone.pop("num_chains") + 1
    assert with_blank == alone


def test_the_reliability_curve_holds_every_residue_and_gives_the_ece(random_set):
    predicted = random_set("ss9", num_chains=20)
    result = score_set(predicted)
    bins = result["reliability"]
    assert sum(row["residues"] for row in bins) == result["num_residues"]
    assert [row["confidence"] for row in bins] == sorted(row["confidence"] for row in bins)
    gap = sum(row["residues"] * abs(row["accuracy"] - row["confidence"]) for row in bins)
    assert result["ece"] == pytest.approx(gap / result["num_residues"])
    right = sum(row["residues"] * row["accuracy"] for row in bins)
    assert result["q9"] == pytest.approx(right / result["num_residues"])


def test_classes_of_length_share_the_chains_out():
    def chain(name, length, right):
        probabilities = np.full((length, 3), 0.1, np.float32)
        probabilities[:, 2 if right else 0] = 0.8
        return ScoredChain(name, "A" * length, np.full(length, 2), probabilities)

    chains = [chain("a", 99, True), chain("b", 100, False), chain("c", 199, True), chain("d", 600, True)]
    blank = ScoredChain("e", "A" * 250, np.full(250, IGNORE_INDEX), np.full((250, 3), 1 / 3, np.float32))
    result = score_set(PredictedSet([*chains, blank], "ss3"))["per_length"]
    assert [(row["from"], row["to"], row["num_chains"], row["num_residues"]) for row in result] == [
        (1, 99, 1, 99),
        (100, 199, 2, 299),
        (512, None, 1, 600),
    ]
    assert [row["q3"] for row in result] == pytest.approx([1.0, 199 / 299, 1.0])
    assert result[0]["q3_ci95"] is None
    low, high = result[1]["q3_ci95"]
    assert (low, high) == (0.0, 1.0)
