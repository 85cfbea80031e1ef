from dataclasses import replace
from typing import Any

import pytest

from liftray.track.promotion.evidence import (
    ChainScores,
    FileEvidence,
    ReplayResult,
    SetEvidence,
    VersionEvidence,
)
from liftray.track.promotion.gates import judge
from liftray.track.promotion.policy import Policy
from liftray.track.promotion.verdict import Refusal

SCORES: dict[str, Any] = {
    "sov99": 0.6,
    "per_state": {state: {"f1": 0.6, "true": 100} for state in "CEH"},
}
DEFAULT = Policy()
WIDE = Policy.model_validate({"sets": {"margin": 0.5}})


def _set(correct: list[int], **change: Any) -> SetEvidence:
    names = [f"chain{place}" for place in range(len(correct))]
    chains = ChainScores(dict.fromkeys(names, 100), dict(zip(names, correct, strict=True)))
    scores = {**SCORES, "q3": sum(correct) / (100 * len(correct))}
    return replace(SetEvidence(("d1",), scores, chains, False, 0.0), **change)


def _contender(version: int, correct: list[int], **sets: SetEvidence) -> VersionEvidence:
    replayed = ReplayResult(num_chains=20, load_s=1.0, latency_s=0.1, ece=0.05)
    files = FileEvidence(bundle_bytes=1000, licence="MIT")
    return VersionEvidence(version, "ss3", "dssp", {"valid": _set(correct), **sets}, files, replayed)


CHAMPION = _contender(1, [70] * 20)


def _with_valid(contender: VersionEvidence, **change: Any) -> VersionEvidence:
    return replace(contender, sets={**contender.sets, "valid": replace(contender.sets["valid"], **change)})


def test_the_first_champion_is_compared_with_nothing_and_passes_the_other_gates() -> None:
    assert judge(CHAMPION, None, DEFAULT).passed
    poor = _with_valid(CHAMPION, scores={**SCORES, "q3": 0.7, "sov99": 0.1})
    assert judge(poor, None, DEFAULT).reasons == ("SOV_BELOW_FLOOR",)
    nothing = replace(CHAMPION, sets={})
    assert "NO_SCORE" in judge(nothing, None, DEFAULT).reasons


@pytest.mark.parametrize(
    ("candidate", "rules", "reasons"),
    [
        ([70] * 20, {}, ()),
        ([70] * 19 + [71], {}, ()),
        ([70] * 19 + [69], {}, ("SCORE_LOWER",)),
        ([60] * 20, {}, ("SCORE_LOWER", "NOT_NON_INFERIOR", "SIGNIFICANTLY_WORSE")),
        # A loss of 0.05 points from one chain in twenty may be noise; the same loss in all of them is none.
        ([70] * 19 + [69], {"primary": {"equal_within": 0.01}}, ()),
        (
            [69] * 20,
            {"primary": {"equal_within": 0.02}, "sets": {"margin": 0.02}},
            ("SIGNIFICANTLY_WORSE",),
        ),
        # Better on the whole, but by two chains in twenty: a loss of over a point is not excluded.
        ([90] * 2 + [69] * 18, {}, ()),
        ([100] * 2 + [67] * 18, {}, ("NOT_NON_INFERIOR",)),
        ([100] * 2 + [67] * 18, {"sets": {"margins": {"valid": 0.05}}}, ()),
        ([70] * 20, {"primary": {"significant": True}}, ("NOT_BETTER",)),
        ([71] * 20, {"primary": {"significant": True}}, ()),
    ],
)
def test_the_rule(candidate: list[int], rules: dict[str, Any], reasons: tuple[str, ...]) -> None:
    verdict = judge(_contender(2, candidate), CHAMPION, Policy.model_validate(rules))
    assert verdict.reasons == reasons
    assert verdict.passed == (not reasons)


def test_without_chains_of_both_it_is_not_known_whether_it_is_worse() -> None:
    better = _contender(2, [75] * 20)
    for champion in (_with_valid(CHAMPION, chains=None), _contender(1, [70] * 19)):
        verdict = judge(better, champion, DEFAULT)
        assert verdict.reasons == ("NOT_PAIRED",)
        assert verdict.evidence("primary")["paired"] is None


def test_rounding_is_no_loss() -> None:
    nearly = _with_valid(_contender(2, [70] * 20), scores={**SCORES, "q3": 0.7 - 1e-12})
    assert judge(nearly, CHAMPION, DEFAULT).passed


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (replace(_contender(2, [99] * 20), task="ss8"), "TASK_DIFFERS"),
        (replace(_contender(2, [99] * 20), ss3_map="lift"), "MAP_DIFFERS"),
        (_with_valid(_contender(2, [99] * 20), digests=("d2",)), "DATA_DIFFERS"),
        (_with_valid(_contender(2, [99] * 20), digests=()), "DATA_DIFFERS"),
        (_with_valid(_contender(2, [99] * 20), scores={}, chains=None), "NO_SCORE"),
    ],
)
def test_what_cannot_be_compared_is_refused_however_good(candidate: VersionEvidence, reason: str) -> None:
    verdict = judge(candidate, CHAMPION, DEFAULT)
    assert verdict.reasons[0] == reason
    assert not verdict.evidence("sets")


def test_the_map_matters_to_three_states_only() -> None:
    nine = replace(CHAMPION, task="ss9")
    nine = _with_valid(nine, scores={**nine.sets["valid"].scores, "q9": 0.7})
    assert judge(replace(nine, version=2, ss3_map="lift"), nine, DEFAULT).passed
    by_q3 = Policy.model_validate({"primary": {"score": "q3"}})
    assert "MAP_DIFFERS" in judge(replace(nine, version=2, ss3_map="lift"), nine, by_q3).reasons


def test_other_sets_guard_and_never_decide() -> None:
    champion = _contender(1, [70] * 20, CASP=_set([70] * 20, digests=("t1",)))
    loses = _contender(2, [75] * 20, CASP=_set([60] * 20, digests=("t1",)))
    assert judge(loses, champion, DEFAULT).reasons == ("NOT_NON_INFERIOR", "SIGNIFICANTLY_WORSE")
    gains = _contender(2, [69] * 20, CASP=_set([90] * 20, digests=("t1",)))
    assert "SCORE_LOWER" in judge(gains, champion, WIDE).reasons


def test_a_set_on_other_data_counts_only_where_it_is_named() -> None:
    champion = _contender(1, [70] * 20, CASP=_set([70] * 20, digests=("t1",)))
    other = _contender(2, [70] * 20, CASP=_set([10] * 20, digests=("t2",)))
    assert judge(other, champion, DEFAULT).passed
    named = Policy.model_validate({"sets": {"names": ["CASP"]}})
    assert judge(other, champion, named).reasons == ("SET_MISSING",)
    assert judge(_contender(2, [70] * 20), champion, named).reasons == ("SET_MISSING",)


def test_a_leaky_set_is_not_counted_and_refused_where_it_is_named() -> None:
    leaky = {"leaky": True, "leakage_share": 0.3}
    champion = _contender(1, [70] * 20, T=_set([70] * 20))
    seen = _contender(2, [70] * 20, T=_set([10] * 20, **leaky))
    verdict = judge(seen, champion, DEFAULT)
    assert verdict.passed
    assert verdict.evidence("leakage")["T"] == {"leaky": True, "share": 0.3, "counted": False}
    named = Policy.model_validate({"sets": {"names": ["T"]}})
    assert "LEAKY_SET" in judge(seen, champion, named).reasons
    assert judge(_with_valid(CHAMPION, **leaky), None, DEFAULT).reasons == ("LEAKY_SET",)


def test_leakage_that_was_not_measured_is_not_none() -> None:
    unknown = _with_valid(CHAMPION, leaky=None, leakage_share=None)
    assert judge(unknown, None, DEFAULT).reasons == ("LEAKAGE_UNKNOWN",)
    assert judge(unknown, None, Policy.model_validate({"leakage": {"allow_unknown": True}})).passed


@pytest.mark.parametrize(
    ("scores", "reasons"),
    [
        ({"per_state": {"H": {"f1": 0.1, "true": 5}}}, ("STATE_BELOW_FLOOR",)),
        ({"per_state": {"H": {"f1": None, "true": 5}}}, ("FLOOR_UNKNOWN",)),
        # No helix in the set: there is nothing to fall below.
        ({"per_state": {"H": {"f1": 0.0, "true": 0}}}, ()),
        ({"per_state": {}}, ("FLOOR_UNKNOWN",)),
        ({"sov99": None}, ("FLOOR_UNKNOWN",)),
        ({"sov99": 0.29}, ("SOV_BELOW_FLOOR",)),
    ],
)
def test_floors(scores: dict[str, Any], reasons: tuple[str, ...]) -> None:
    found = _with_valid(CHAMPION, scores={**SCORES, "q3": 0.7, **scores})
    assert judge(found, None, DEFAULT).reasons == reasons


@pytest.mark.parametrize(
    ("replayed", "files", "rules", "reasons"),
    [
        ({"ece": 0.2}, {}, {}, ("CALIBRATION_POOR",)),
        ({"ece": None}, {}, {}, ("CALIBRATION_UNKNOWN",)),
        ({"ece": None}, {}, {"calibration": {"max_ece": None}}, ()),
        ({"reasons": ("NOT_REPRODUCED",)}, {}, {}, ("NOT_REPRODUCED",)),
        ({"latency_s": 31.0}, {}, {}, ("TOO_SLOW",)),
        ({"latency_s": None}, {}, {}, ("LATENCY_UNKNOWN",)),
        ({}, {"bundle_bytes": 600_000_000}, {}, ("TOO_LARGE",)),
        ({}, {"bundle_bytes": 600_000_000}, {"budgets": {"max_bundle_mb": None}}, ()),
        ({}, {"licence": None}, {}, ("LICENCE_UNKNOWN",)),
        ({}, {"licence": None}, {"licence": {"backbone": "MIT"}}, ()),
        ({}, {"licence": None}, {"licence": {"required": False}}, ()),
        ({}, {"reasons": ("BACKBONE_CHANGED",)}, {}, ("BACKBONE_CHANGED",)),
    ],
)
def test_files_and_fresh_process(
    replayed: dict[str, Any], files: dict[str, Any], rules: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert CHAMPION.replayed is not None
    found = replace(
        CHAMPION, replayed=replace(CHAMPION.replayed, **replayed), files=replace(CHAMPION.files, **files)
    )
    assert judge(found, None, Policy.model_validate(rules)).reasons == reasons


def test_what_was_not_replayed_does_not_pass() -> None:
    reasons = judge(replace(CHAMPION, replayed=None), None, DEFAULT).reasons
    assert reasons == ("CALIBRATION_UNKNOWN", "NOT_REPLAYED", "LATENCY_UNKNOWN")


def test_what_promote_replays_later_is_pending_and_no_reason() -> None:
    proposed = replace(CHAMPION, replayed=None, replay_deferred=True)
    verdict = judge(proposed, None, DEFAULT)
    assert (verdict.passed, verdict.reasons) == (None, ())
    assert verdict.pending == ("calibration", "replay", "budgets")
    assert verdict.as_dict()["to_check_at_promote"] == ["calibration", "replay", "budgets"]
    poor = judge(_with_valid(proposed, scores={**SCORES, "q3": 0.7, "sov99": 0.1}), None, DEFAULT)
    assert (poor.passed, poor.reasons) == (False, ("SOV_BELOW_FLOOR",))


def test_every_gate_is_reported_with_its_evidence() -> None:
    message = judge(_contender(2, [60] * 20), CHAMPION, DEFAULT).as_dict()
    assert [one["gate"] for one in message["gates"]] == [
        "comparable",
        "primary",
        "sets",
        "leakage",
        "floors",
        "calibration",
        "files",
        "replay",
        "budgets",
        "licence",
    ]
    assert [one["gate"] for one in message["gates"] if not one["passed"]] == ["primary", "sets"]
    assert message["gates"][1]["evidence"]["difference"] == pytest.approx(-0.1)


def test_a_refusal_ends_a_job_with_three() -> None:
    refusal = Refusal("no", reasons=["X"], verdict={"passed": False})
    assert refusal.exit_code == 3
    assert refusal.verdict == {"passed": False}
