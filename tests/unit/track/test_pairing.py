import pytest

from liftray.track.promotion.evidence import ChainScores
from liftray.track.promotion.pairing import paired


def _chains(correct: list[int], labelled: int = 100) -> ChainScores:
    names = [f"chain{place}" for place in range(len(correct))]
    return ChainScores(dict.fromkeys(names, labelled), dict(zip(names, correct, strict=True)))


def test_chains_without_labels_change_nothing() -> None:
    def with_empty(scores: ChainScores) -> ChainScores:
        return ChainScores({**scores.labelled, "empty": 0}, {**scores.correct, "empty": 0})

    one, two = _chains([69] * 10 + [72] * 10), _chains([70] * 20)
    assert paired(one, two) == paired(with_empty(one), with_empty(two))


@pytest.mark.parametrize("other", [None, _chains([70] * 19), _chains([70] * 20, labelled=99)])
def test_what_cannot_be_paired(other: ChainScores | None) -> None:
    assert paired(_chains([70] * 20), other) is None
    assert paired(other, _chains([70] * 20)) is None


def test_one_chain_has_no_interval() -> None:
    assert paired(_chains([70]), _chains([60])) is None
