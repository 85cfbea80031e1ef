import numpy as np
import pytest

from liftray.track.promotion import pairing
from liftray.track.promotion.evidence import ChainScores
from liftray.track.promotion.pairing import paired


def _chains(correct: list[int], labelled: int = 100) -> ChainScores:
    names = [f"chain{place}" for place in range(len(correct))]
    return ChainScores(dict.fromkeys(names, labelled), dict(zip(names, correct, strict=True)))


def test_the_interval_covers_as_often_as_it_says() -> None:
    # 300 pairs of equal models: the interval may lie wholly below zero in about 2.5 % of them.
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(300):
        one, two = rng.binomial(100, 0.7, size=(2, 40)).tolist()
        found = paired(_chains(one), _chains(two))
        assert found is not None
        below += found["ci95"][1] < 0
    assert 1 <= below <= 20


def test_chains_without_labels_change_nothing() -> None:
    def with_empty(scores: ChainScores) -> ChainScores:
        return ChainScores({**scores.labelled, "empty": 0}, {**scores.correct, "empty": 0})

    one, two = _chains([69] * 10 + [72] * 10), _chains([70] * 20)
    assert paired(one, two) == paired(with_empty(one), with_empty(two))


@pytest.mark.parametrize("other", [None, _chains([70] * 19), _chains([70] * 20, labelled=99)])
def test_what_cannot_be_paired(other: ChainScores | None) -> None:
    assert paired(_chains([70] * 20), other) is None
    assert paired(other, _chains([70] * 20)) is None


def test_one_chain_tells_nothing() -> None:
    assert paired(_chains([70]), _chains([60])) is None


def test_draws_in_blocks_give_the_same_difference_and_a_like_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = _chains([69] * 10 + [72] * 10), _chains([70] * 20)
    whole = paired(one, two)
    monkeypatch.setattr(pairing, "_BLOCK", 700)
    blocks = paired(one, two)
    assert whole is not None
    assert blocks is not None
    assert blocks["difference"] == whole["difference"] == pytest.approx(0.005)
    assert blocks["ci95"] == pytest.approx(whole["ci95"], abs=1e-3)
