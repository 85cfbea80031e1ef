"""The statistics of a study, against hand-computed cases."""

import math

import numpy as np
import pytest

from liftray.errors import DataError
from liftray.study.inference import Sample, compare, intervals

_ALL = {"seed": 3, "resamples": 4000}


def _sample(hits: list[list[float]], size: list[float]) -> Sample:
    chains = tuple(f"c{at}" for at in range(len(size)))
    return Sample(chains, np.array(hits, dtype=float), np.array(size, dtype=float))


def test_a_score_is_pooled_over_chains_and_averaged_over_seeds() -> None:
    sample = _sample([[8, 5, 2], [6, 5, 1]], [10, 10, 5])
    assert sample.mean_N.tolist() == [7, 5, 1.5]
    assert sample.score == pytest.approx(13.5 / 25)
    assert sample.by_seed == pytest.approx([15 / 25, 12 / 25])
    assert sample.seed_sd == pytest.approx(0.12 / math.sqrt(2))
    assert _sample([[8, 5, 2]], [10, 10, 5]).seed_sd is None


def test_the_interval_is_that_of_chains_drawn_with_replacement() -> None:
    # Two chains of equal size: draws give 0.2, 0.5 (half of them) or 0.8, so the 95 % interval spans them all.
    # Only the mean over seeds counts, so seeds that differ do not widen it.
    found = intervals(
        {"one": _sample([[2, 8]], [10, 10]), "seeds": _sample([[0, 10], [4, 6]], [10, 10])}, **_ALL
    )
    assert found == {"one": pytest.approx((0.2, 0.8)), "seeds": pytest.approx((0.2, 0.8))}
    assert intervals({"q3": _sample([[2]], [10])}, **_ALL) == {"q3": None}


def test_the_permutation_test_swaps_whole_chains() -> None:
    # Gaps 3 and 1: of the four ways to swap, none and both are as extreme as what was seen, 4.
    found = compare(_sample([[5, 5]], [10, 10]), _sample([[2, 4]], [10, 10]), **_ALL)
    assert found.difference == pytest.approx(4 / 20)
    assert found.p == pytest.approx(0.5, abs=0.03)
    # Six gaps of one sign: 2 of 64 ways.
    six = compare(_sample([[3] * 6], [5] * 6), _sample([[2] * 6], [5] * 6), **_ALL)
    assert six.p == pytest.approx(2 / 64, abs=0.012)
    assert six.ci95 == pytest.approx((0.2, 0.2))


def test_an_arm_compared_with_itself_differs_by_nothing() -> None:
    one = _sample([[1, 2, 3], [2, 2, 3], [3, 2, 0]], [3, 3, 3])
    found = compare(one, one, **_ALL)
    assert (found.difference, found.p, found.ci95) == (0.0, 1.0, (0.0, 0.0))
    assert found.seeds_ci95 is not None
    assert found.seeds_ci95[0] < 0 < found.seeds_ci95[1]


def test_equal_seeds_draw_the_same_chains_for_both_arms() -> None:
    """One arm is better by a tenth on every chain: over chains, its lead is sure though the scores are not."""
    rng = np.random.default_rng(0)
    hits = rng.integers(10, 60, size=30).astype(float)
    sizes = np.full(30, 100.0)
    found = compare(
        _sample([(hits + 10).tolist()], sizes.tolist()), _sample([hits.tolist()], sizes.tolist()), **_ALL
    )
    assert found.ci95 == pytest.approx((0.1, 0.1))
    assert (found.seeds_ci95, found.seeds_p) == (None, None)


def test_the_hierarchical_interval_has_the_width_of_the_seeds() -> None:
    """Chains alike, so seeds alone spread: 0.5 and 0.6 become 0.55 -+ 0.05 sqrt(2), the variance of their mean."""
    one, other = _sample([[5] * 4, [6] * 4], [10] * 4), _sample([[4] * 4, [4] * 4], [10] * 4)
    found = compare(one, other, **_ALL)
    assert found.ci95 == pytest.approx((0.15, 0.15))
    stretched = 0.05 * math.sqrt(2)
    assert found.seeds_ci95 == pytest.approx((0.15 - stretched, 0.15 + stretched))
    assert found.seeds_p == pytest.approx(2 / 4001)
    # One way or the other: the sign alone turns.
    back = compare(other, one, **_ALL)
    assert back.difference == pytest.approx(-found.difference)
    assert back.p == found.p


def test_hidden_differences_of_rounding_are_no_evidence() -> None:
    thirds = _sample([[1, 2], [2, 2], [2, 3]], [3, 5])
    same = _sample([[2, 3], [1, 2], [2, 2]], [3, 5])
    found = compare(thirds, same, **_ALL)
    assert found.difference == pytest.approx(0, abs=1e-15)
    assert found.p == 1.0


@pytest.mark.parametrize("other", [_sample([[1, 1]], [3, 4]), _sample([[1]], [3])])
def test_arms_scored_on_other_residues_are_not_compared(other: Sample) -> None:
    with pytest.raises(DataError, match="different chains or labels"):
        compare(_sample([[1, 1]], [3, 3]), other, **_ALL)
