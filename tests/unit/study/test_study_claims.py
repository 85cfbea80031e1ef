"""Claims: which arm represents the others, what decides, and that a sentence claims no more than was shown."""

from typing import Any

import numpy as np
import pytest

from liftray.config import StudySettings
from liftray.sections import ClaimSettings
from liftray.statistics.paired import ChainCounts
from liftray.study import claims
from liftray.study.claims import POOLED, VALIDATION, Evidence, ResolvedClaim

_CHAINS = 40


def _sample(shift: float, spread: float = 0.0, arm: int = 0, seed: int = 0) -> ChainCounts:
    """40 chains of 100 residues of about 60 % right, better by `shift` points, by three seeds that differ by `spread`.

    What an arm alone gets right by chance on a chain adds up to nothing, so that arms differ by their shifts exactly.
    """
    base_N = 60 + np.random.default_rng(seed).normal(0, 8, _CHAINS)
    chance_JN = np.random.default_rng([seed, arm]).normal(0, 0.6, (3, _CHAINS))
    chance_JN -= chance_JN.mean(axis=1, keepdims=True)
    hits_JN = base_N + shift + np.array([-spread, 0.0, spread])[:, None] + chance_JN
    return ChainCounts(tuple(f"c{at}" for at in range(_CHAINS)), hits_JN, np.full(_CHAINS, 100.0))


def _evidence(
    tests: dict[str, float], valid: dict[str, float] | None = None, spread: float = 0.0
) -> Evidence:
    def of(shifts: dict[str, float], seed: int) -> dict[str, Any]:
        return {
            name: {"q3": _sample(shift, spread, arm, seed)}
            for arm, (name, shift) in enumerate(shifts.items())
        }

    valid = tests if valid is None else valid
    sets = {VALIDATION: of(valid, 1), "T": of(tests, 2), POOLED: of(tests, 2)}
    return Evidence(sets, "q3", resamples=1000)


def _claim(kind: str, margin: float | None = None) -> ClaimSettings:
    than = [] if kind == "sweep" else ["plain"]
    return ClaimSettings(says="A claim.", kind=kind, arms=["a", "b"], than=than, margin=margin)  # type: ignore[arg-type]


def _answer(claim: ClaimSettings, arms: list[str], than: list[str], evidence: Evidence) -> dict[str, Any]:
    return claims.answer({"only": ResolvedClaim(claim, arms, than)}, evidence)["only"]


def test_validation_names_the_speaker_and_the_test_sets_decide() -> None:
    evidence = _evidence({"a": 0, "b": 3, "plain": 0}, valid={"a": 5, "b": 4, "plain": 0})
    result = _answer(_claim("better"), ["a", "b"], ["plain"], evidence)
    assert result["speaker"] == "a", "the speaker was chosen by the test sets"
    assert result["decided_on"] == POOLED
    assert result["verdict"] == "not shown"
    assert [row["set"] for row in result["by_set"]] == [VALIDATION, "T"]
    assert result["by_set"][0]["p_corrected"] < 0.05 < result["by_set"][1]["p_corrected"]
    assert {(row["arm"], row["set"]) for row in result["candidates"]} == {
        (arm, name) for arm in "ab" for name in (POOLED, VALIDATION)
    }


@pytest.mark.parametrize(
    ("lead", "spread", "verdict"),
    [(3, 0, "holds"), (3, 8, "holds for these seeds"), (0, 0, "not shown"), (-3, 0, "contradicted")],
)
def test_the_verdict_states_how_far_a_lead_was_shown(lead: float, spread: float, verdict: str) -> None:
    evidence = _evidence({"a": lead, "plain": 0}, spread=spread)
    result = _answer(_claim("better"), ["a"], ["plain"], evidence)
    assert result["verdict"] == verdict
    assert result["sentence"].endswith(f": {verdict}.")


def test_a_claim_against_two_holds_as_far_as_against_the_harder_one() -> None:
    evidence = _evidence({"a": 3, "plain": 0, "strong": 3})
    result = _answer(_claim("better"), ["a"], ["plain", "strong"], evidence)
    assert result["verdict"] == "not shown"
    first, second = result["decisive"]
    # Holm over two: the smaller p doubles, the larger stays.
    assert first["p_corrected"] == pytest.approx(2 * first["p"])
    assert second["p_corrected"] == second["p"]


@pytest.mark.parametrize(
    ("lead", "spread", "verdict"),
    [(-0.2, 0, "holds"), (-0.2, 8, "holds for these seeds"), (-0.5, 0, "not shown"), (-2, 0, "contradicted")],
)
def test_not_worse_asks_for_the_lower_end_of_the_interval(lead: float, spread: float, verdict: str) -> None:
    """Chance on 40 chains makes the interval about 0.15 points to either side."""
    evidence = _evidence({"a": lead, "plain": 0}, spread=spread)
    assert _answer(_claim("not_worse", 0.005), ["a"], ["plain"], evidence)["verdict"] == verdict


@pytest.mark.parametrize(
    ("lead", "verdict"), [(3, "holds"), (2, "not shown"), (1, "contradicted"), (-1, "contradicted")]
)
def test_better_by_asks_for_more_than_the_margin(lead: float, verdict: str) -> None:
    result = _answer(_claim("better_by", 0.02), ["a"], ["plain"], _evidence({"a": lead, "plain": 0}))
    assert result["verdict"] == verdict
    assert "requiring more than 2 points" in result["sentence"]


def test_what_decides_is_corrected_for_all_claims_of_the_study() -> None:
    evidence = _evidence({"a": 0.2, "b": -3, "plain": 0, "strong": 3})
    better, sweep = _claim("better"), _claim("sweep", 0.005)
    resolved = {
        "one": ResolvedClaim(better, ["a"], ["plain"]),
        "two": ResolvedClaim(better, ["a"], ["strong"]),
        "far": ResolvedClaim(sweep, ["a", "b"], []),
    }
    result = claims.answer(resolved, evidence)
    alone = claims.answer({"one": resolved["one"]}, evidence)["one"]["decisive"][0]["p"]
    [weak], [strong] = result["one"]["decisive"], result["two"]["decisive"]
    assert {one["corrected_for"] for one in result.values()} == {3}
    assert strong["p"] < weak["p"] == alone
    assert strong["p_corrected"] == pytest.approx(3 * strong["p"])
    assert weak["p_corrected"] == pytest.approx(2 * weak["p"]), "the sweep keeps its share"
    assert result["far"]["steps"][0]["p_corrected"] == pytest.approx(3 * result["far"]["steps"][0]["p"])


def test_further_scores_are_reported_and_decide_nothing() -> None:
    sets = {
        VALIDATION: {
            "a": {"q3": _sample(3), "q9": _sample(-3)},
            "plain": {"q3": _sample(0, arm=1), "q9": _sample(0, arm=2)},
        }
    }
    result = _answer(_claim("better"), ["a"], ["plain"], Evidence(sets, "q3", 1000, ("q9",)))
    assert result["verdict"] == "holds"
    assert [(row["score"], row["difference"]) for row in result["further"]] == [("q9", pytest.approx(-0.03))]


def test_a_sweep_stops_at_the_first_step_that_is_worse() -> None:
    arms = ["a", "b", "c", "d"]
    evidence = _evidence({"a": 0, "b": 0.3, "c": -3, "d": 0}, valid={"a": 1, "b": -3, "c": 0, "d": 2})
    result = _answer(_claim("sweep", 0.01), arms, [], evidence)
    assert (result["verdict"], result["deepest"]) == ("holds", "b"), "d stands behind a step that is worse"
    assert result["deepest_by_set"] == {VALIDATION: None, "T": "b", POOLED: "b"}
    assert "from a, best on validation, down to b without losing more than 1 point:" in result["sentence"]
    assert result["sentence"].endswith("On validation: down to no step.")
    assert [row["not_worse"] for row in result["steps"] if row["set"] == POOLED][1] == "contradicted"


@pytest.mark.parametrize(
    ("tested", "verdict", "deepest", "phrase"),
    [
        # The second arm is as good as the first and the third is not: what the second leaves out is not needed.
        (
            {"a": 3, "b": 3, "c": 0},
            "holds",
            "b",
            "b, best on validation, loses at most 1 point against a: +0",
        ),
        ({"a": 0, "b": 3, "c": 3}, "holds", "c", "from b, best on validation, down to c"),
        ({"a": 6, "b": 3, "c": 3}, "contradicted", None, "is not shown to lose at most 1 point against a"),
    ],
)
def test_a_sweep_starts_at_the_best_on_validation_which_must_itself_be_as_good_as_the_first(
    tested: dict[str, float], verdict: str, deepest: str | None, phrase: str
) -> None:
    evidence = _evidence(tested, valid={"a": 0, "b": 1, "c": 0})
    result = _answer(_claim("sweep", 0.01), ["a", "b", "c"], [], evidence)
    assert (result["start"], result["verdict"], result["deepest"]) == ("b", verdict, deepest)
    assert phrase in result["sentence"]
    assert {(row["arm"], row["than"]) for row in result["steps"]} == {("b", "a"), ("a", "b"), ("c", "b")}
    assert result["arms"] == ["a", "b", "c"]


def test_a_sweep_without_a_step_claims_nothing() -> None:
    result = _answer(_claim("sweep", 0.005), ["a", "b"], [], _evidence({"a": 0, "b": -4}))
    assert (result["verdict"], result["deepest"]) == ("contradicted", None)
    assert "no step below a, best on validation, is shown" in result["sentence"]


def test_without_test_sets_validation_decides() -> None:
    sets = {VALIDATION: {"a": {"q3": _sample(3)}, "plain": {"q3": _sample(0, arm=1)}}}
    result = _answer(_claim("better"), ["a"], ["plain"], Evidence(sets, "q3", 1000))
    assert (result["decided_on"], result["verdict"]) == (VALIDATION, "holds")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"kind": "better", "arms": ["a"]}, "names under `than`"),
        ({"kind": "better", "arms": ["a"], "than": ["b"], "margin": 0.1}, "`margin` belongs to"),
        ({"kind": "not_worse", "arms": ["a"], "than": ["b"]}, "`margin` belongs to"),
        ({"kind": "better_by", "arms": ["a"], "than": ["b"]}, "`margin` belongs to"),
        ({"kind": "sweep", "arms": ["a", "b"], "than": ["a"], "margin": 0.1}, "names nothing under `than`"),
        ({"kind": "better", "arms": ["a"], "than": ["zebra"]}, "no arm 'zebra'"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused(claim: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudySettings.model_validate({"arms": {"a": {}, "b": {}}, "claims": {"c": {"says": "x", **claim}}})
