from dataclasses import replace

import numpy as np
import pytest

from liftray.track.gates import ChainScores, Contender, Refusal, judge


def _chains(correct: list[int], labelled: int = 100) -> ChainScores:
    names = [f"chain{place}" for place in range(len(correct))]
    return ChainScores(dict.fromkeys(names, labelled), dict(zip(names, correct, strict=True)))


def _contender(version: int, correct: list[int] | None = None, score: float | None = None) -> Contender:
    if correct is not None:
        score = sum(correct) / (100 * len(correct))
    chains = None if correct is None else _chains(correct)
    return Contender(version, "ss3", "dssp", score, {"valid": "d1"}, chains)


CHAMPION = _contender(1, [70] * 20)


def test_the_first_champion_needs_only_a_score() -> None:
    assert judge(_contender(1, score=0.5), None).passed
    assert judge(_contender(1), None).reasons == ("NO_SCORE",)


@pytest.mark.parametrize(
    ("candidate", "margin", "reasons"),
    [
        ([70] * 20, 0.0, ()),
        ([70] * 19 + [71], 0.0, ()),
        ([70] * 19 + [69], 0.0, ("SCORE_LOWER",)),
        ([60] * 20, 0.0, ("SCORE_LOWER", "SIGNIFICANTLY_WORSE")),
        # A loss of 0.05 points from one chain in twenty may be noise; the same loss in all of them is none.
        ([70] * 19 + [69], 0.01, ()),
        ([69] * 20, 0.02, ("SIGNIFICANTLY_WORSE",)),
    ],
)
def test_the_rule(candidate: list[int], margin: float, reasons: tuple[str, ...]) -> None:
    assert judge(_contender(2, candidate), CHAMPION, margin=margin).reasons == reasons


def test_point_scores_decide_where_chains_cannot_be_paired() -> None:
    for champion in (_contender(1, score=0.7), replace(CHAMPION, chains=_chains([70] * 19))):
        verdict = judge(_contender(2, [69] * 20), champion)
        assert verdict.reasons == ("SCORE_LOWER",)
        assert verdict.evidence["paired"] is None


def test_rounding_is_no_loss() -> None:
    assert judge(_contender(2, score=0.7 - 1e-12), _contender(1, score=0.7)).passed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "ss8"}, "TASK_DIFFERS"),
        ({"ss3_map": "lift"}, "MAP_DIFFERS"),
        ({"data": {"valid": "d2"}}, "DATA_DIFFERS"),
        ({"data": {}}, "DATA_DIFFERS"),
        ({"score": None}, "NO_SCORE"),
    ],
)
def test_what_cannot_be_compared_is_refused_however_good(change: dict[str, object], reason: str) -> None:
    candidate = replace(_contender(2, [99] * 20), **change)  # type: ignore[arg-type]
    assert judge(candidate, CHAMPION).reasons == (reason,)


def test_a_set_may_be_renamed_and_the_map_matters_to_three_states_only() -> None:
    assert judge(replace(_contender(2, [70] * 20), data={"renamed": "d1"}), CHAMPION).passed
    nine = replace(CHAMPION, task="ss9")
    assert judge(replace(nine, version=2, ss3_map="lift"), nine).passed


def test_the_interval_covers_as_often_as_it_says() -> None:
    # 300 pairs of equal models: the interval may exclude zero from below in about 2.5 % of them.
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        one, two = rng.binomial(100, 0.7, size=(2, 40)).tolist()
        refused += "SIGNIFICANTLY_WORSE" in judge(_contender(2, one), _contender(1, two), margin=1.0).reasons
    assert 1 <= refused <= 20


def test_chains_without_labels_change_nothing() -> None:
    def with_empty(scores: ChainScores) -> ChainScores:
        return ChainScores({**scores.labelled, "empty": 0}, {**scores.correct, "empty": 0})

    plain = [_contender(2, [69] * 10 + [72] * 10), CHAMPION]
    padded = [replace(one, chains=with_empty(one.chains)) for one in plain if one.chains]
    assert judge(*plain).evidence["paired"] == judge(*padded).evidence["paired"]


def test_a_refusal_ends_a_job_with_three() -> None:
    refusal = Refusal("no", reasons=["X"], verdict={"passed": False})
    assert refusal.exit_code == 3
    assert refusal.verdict == {"passed": False}
