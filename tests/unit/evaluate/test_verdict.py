"""The sentence on whether a model is better than the best baseline."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from liftray.data.labels import STATES
from liftray.evaluate.baselines import Majority
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.comparison import compare
from liftray.evaluate.scores import score_set
from liftray.evaluate.verdict import deciding_set, verdict


def _judged(
    ours: PredictedSet, baselines: dict[str, PredictedSet], name: str = "casp12", **further: Any
) -> dict[str, Any]:
    return verdict(
        {name: score_set(ours, resamples=300)},
        {one: {name: score_set(predicted, resamples=300)} for one, predicted in baselines.items()},
        {one: {name: compare(ours, predicted, resamples=300)} for one, predicted in baselines.items()},
        **further,
    )


def _majority(like: PredictedSet) -> PredictedSet:
    frequencies_C = np.bincount(np.maximum(like.true_T, 0), minlength=len(STATES[like.task])).astype(
        np.float32
    )
    majority = Majority(like.task, frequencies_C / frequencies_C.sum())
    chains = [
        ScoredChain(chain.id, chain.sequence, chain.true_L, majority.probabilities(chain.sequence))
        for chain in like.chains
    ]
    return PredictedSet(chains, like.task, like.ss3_map)


def test_a_model_that_only_equals_the_majority_class_is_not_better(random_set) -> None:
    truth = random_set("ss3", 20)
    equal = _majority(truth)
    # A baseline that is worse than the majority class, by a wide and significant margin.
    frozen = PredictedSet(
        [replace(chain, probabilities_LC=1 - chain.probabilities_LC) for chain in truth.chains], "ss3"
    )
    judged = _judged(equal, {"majority": _majority(truth), "frozen": frozen})
    assert judged["better"] is False
    assert judged["baseline"] == "majority"
    assert judged["sentence"].startswith(
        "On casp12 (20 chains), the model is not better than the majority class, the best baseline: Q3 (dssp) "
    )
    assert "+0.00 points, 95 % interval +0.00 to +0.00, p 1.000: no difference shown" in judged["sentence"]
    assert "frozen" not in judged["sentence"]
    assert list(judged["scores"]) == ["q3", "sov99"]


def test_a_better_model_is_named_with_both_scores_and_their_intervals(random_set) -> None:
    ours, frozen = random_set("ss3", 25, skill=1.0), random_set("ss3", 25, skill=0.3)
    judged = _judged(ours, {"frozen": frozen, "majority": _majority(ours)}, model="ours")
    assert judged["better"] is True
    row = judged["scores"]["q3"]
    assert (row["model"], row["baseline"]) == (score_set(ours)["q3"], score_set(frozen)["q3"])
    assert (row["against"], row["shown"]) == ("frozen", "better")
    assert judged["sentence"].startswith(
        "On casp12 (25 chains), ours is better than the frozen backbone with the same head, the best baseline: "
        f"Q3 (dssp) {100 * row['model']:.2f} against {100 * row['baseline']:.2f} ("
    )
    assert "; SOV'99 " in judged["sentence"]


def test_every_score_decides(random_set) -> None:
    ours, frozen = random_set("ss3", 25, skill=1.0), random_set("ss3", 25, skill=0.3)
    name, better = "casp12", {"difference": 0.05, "ci95": [0.04, 0.06], "p": 0.001}
    rows = {"q3": better, "sov99": {"difference": 0.01, "ci95": [-0.02, 0.04], "p": 0.4}}
    judged = verdict({name: score_set(ours)}, {"frozen": {name: score_set(frozen)}}, {"frozen": {name: rows}})
    assert judged["better"] is False
    assert (
        "is not better than the frozen backbone with the same head, the best baseline, by every score: better by "
        "Q3 (dssp), not by SOV'99:"
    ) in judged["sentence"]


def test_each_score_is_compared_with_the_baseline_that_is_best_in_it(random_set) -> None:
    ours = score_set(random_set("ss3", 10))
    name, row = "casp12", {"difference": 0.1, "ci95": [0.05, 0.2], "p": 0.01}
    scored = {
        "majority": {name: ours | {"q3": 0.5, "sov99": 0.1}},
        "frozen": {name: ours | {"q3": 0.4, "sov99": 0.3}},
    }
    paired = {one: {name: {"q3": row, "sov99": row}} for one in scored}
    judged = verdict({name: ours}, scored, paired)
    assert {score: one["against"] for score, one in judged["scores"].items()} == {
        "q3": "majority",
        "sov99": "frozen",
    }
    assert "is better than the best baselines: Q3 (dssp) " in judged["sentence"]
    assert "against 50.00 of the majority class (" in judged["sentence"]
    assert "against 30.00 of the frozen backbone with the same head (" in judged["sentence"]


def test_a_richer_task_is_judged_by_its_own_accuracy_as_well(random_set) -> None:
    ours = random_set("ss8", 12)
    judged = _judged(ours, {"majority": _majority(ours)})
    assert list(judged["scores"]) == ["q8", "q3", "sov99"]


def test_without_a_baseline_nothing_is_claimed(random_set) -> None:
    metrics = {"valid": score_set(random_set("ss3", 5))}
    judged = verdict(metrics, {}, {}, model="ours", remedy="give some")
    assert judged == {
        "sentence": "No verdict: ours was compared with no baseline; give some.",
        "better": None,
        "set": "valid",
        "baseline": None,
        "scores": {},
    }


@pytest.mark.parametrize(
    ("residues", "leaky", "expected"),
    [
        ({"valid": 900, "small": 100, "large": 300}, [], "large"),
        ({"valid": 900, "small": 100, "large": 300}, ["large"], "small"),
        ({"valid": 900, "large": 300}, ["large"], "valid"),
        ({"valid/a": 900, "valid/b": 950}, [], "valid/b"),
        ({"one": 10, "two": 20}, ["one", "two"], "two"),
    ],
)
def test_the_verdict_is_about_the_largest_clean_test_set(
    residues: dict[str, int], leaky: list[str], expected: str
) -> None:
    metrics = {name: {"num_residues": count} for name, count in residues.items()}
    leakage: Any = {name: {"leaky": name in leaky} for name in residues}
    assert deciding_set(metrics, leakage) == expected


def test_validation_and_leaky_sets_are_named_as_such(random_set) -> None:
    ours = random_set("ss3", 10)
    baselines = {"majority": _majority(ours)}
    assert (
        "On valid (10 chains, which also chose the best epoch), the model"
        in (_judged(ours, baselines, "valid")["sentence"])
    )
    leakage = {"casp12": {"leaky": True, "share": 0.25}}
    assert (
        "On casp12 (10 chains, leaky: 25.00 % are in the training data), the model"
        in (_judged(ours, baselines, leakage=leakage)["sentence"])
    )
