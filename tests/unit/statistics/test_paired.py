"""Paired differences, against scipy and against cases computed by hand."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from liftray.statistics.paired import ChainCounts, compare_counts, compare_scores

_RESAMPLES = 4000


def _counts(hits: list[list[float]], size: list[float]) -> ChainCounts:
    chains = tuple(f"c{at}" for at in range(len(size)))
    return ChainCounts(chains, np.array(hits, dtype=float), np.array(size, dtype=float))


def _ratio(sums_SK: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"ratio": sums_SK[:, 0] / sums_SK[:, 1]}


def test_a_score_is_pooled_over_chains_and_averaged_over_runs() -> None:
    counts = _counts([[8, 5, 2], [6, 5, 1]], [10, 10, 5])
    assert counts.mean_N.tolist() == [7, 5, 1.5]
    assert counts.score == pytest.approx(13.5 / 25)
    assert counts.by_seed == pytest.approx([15 / 25, 12 / 25])
    assert counts.seed_sd == pytest.approx(0.12 / math.sqrt(2))
    assert _counts([[8, 5, 2]], [10, 10, 5]).seed_sd is None


def test_interval_and_p_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    size_N = rng.integers(50, 300, size=40)
    one_N, other_N = rng.binomial(size_N, 0.70), rng.binomial(size_N, 0.69)
    compared = compare_counts(
        _counts([one_N.tolist()], size_N.tolist()), _counts([other_N.tolist()], size_N.tolist()), 20_000
    )
    interval = stats.bootstrap(
        (one_N, other_N, size_N),
        lambda one, other, size, axis: one.sum(axis) / size.sum(axis) - other.sum(axis) / size.sum(axis),
        paired=True, vectorized=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    test = stats.permutation_test(
        (one_N, other_N), lambda one, other, axis: (one - other).sum(axis) / size_N.sum(),
        permutation_type="samples", vectorized=True, n_resamples=20_000, rng=np.random.default_rng(2),
    )  # fmt: skip
    assert compared.difference == pytest.approx(test.statistic)
    assert compared.ci95 == pytest.approx(
        (interval.low, interval.high), abs=0.05 * (interval.high - interval.low)
    )
    assert 0.001 < test.pvalue < 0.999  # else the comparison below would say little
    assert compared.p == pytest.approx(test.pvalue, abs=0.02)


def test_counts_and_scores_of_the_same_chains_have_one_answer() -> None:
    rng = np.random.default_rng(4)
    size_N = rng.integers(20, 200, size=25).astype(float)
    one_N, other_N = (rng.binomial(size_N.astype(int), share).astype(float) for share in (0.8, 0.78))
    one, other = _counts([one_N.tolist()], size_N.tolist()), _counts([other_N.tolist()], size_N.tolist())
    by_counts = compare_counts(one, other)
    by_scores = compare_scores(
        one.chains, np.stack([one_N, size_N], axis=1), np.stack([other_N, size_N], axis=1), _ratio
    )["ratio"]
    assert by_counts.ci95 == by_scores.ci95
    assert (by_counts.difference, by_counts.p) == (by_scores.difference, by_scores.p)


def test_the_interval_covers_as_often_as_it_claims() -> None:
    # 300 pairs of equal models: the interval may be wholly below zero in about 2.5 % of them.
    rng, below = np.random.default_rng(0), 0
    for _ in range(300):
        one, other = rng.binomial(100, 0.7, size=(2, 1, 40)).tolist()
        compared = compare_counts(_counts(one, [100] * 40), _counts(other, [100] * 40))
        assert compared.ci95 is not None
        below += compared.ci95[1] < 0
    assert 1 <= below <= 20


def test_the_permutation_test_swaps_whole_chains() -> None:
    # Gaps 3 and 1: of the four ways to swap, none and both are as extreme as what was seen, 4.
    compared = compare_counts(_counts([[5, 5]], [10, 10]), _counts([[2, 4]], [10, 10]), _RESAMPLES)
    assert compared.difference == pytest.approx(4 / 20)
    assert compared.p == pytest.approx(0.5, abs=0.03)
    # Six gaps of one sign: 2 of 64 ways.
    six = compare_counts(_counts([[3] * 6], [5] * 6), _counts([[2] * 6], [5] * 6), _RESAMPLES)
    assert six.p == pytest.approx(2 / 64, abs=0.012)
    assert six.ci95 == pytest.approx((0.2, 0.2))


def test_a_null_moves_the_p_value_and_nothing_else() -> None:
    one, other = _counts([[60] * 12], [100] * 12), _counts([[55] * 12], [100] * 12)
    plain, moved = compare_counts(one, other), compare_counts(one, other, null=0.05)
    assert (plain.difference, plain.ci95) == (moved.difference, moved.ci95)
    assert plain.p < 0.01
    assert moved.p == 1.0


def test_equal_seeds_draw_the_same_chains_for_both_arms() -> None:
    """One arm is better by a tenth on every chain: over chains, its lead is sure though the scores are not."""
    hits = np.random.default_rng(0).integers(10, 60, size=30).astype(float)
    sizes = [100.0] * 30
    compared = compare_counts(_counts([(hits + 10).tolist()], sizes), _counts([hits.tolist()], sizes))
    assert compared.ci95 == pytest.approx((0.1, 0.1))
    assert (compared.seeds_ci95, compared.seeds_p) == (None, None)


def test_the_hierarchical_interval_has_the_width_of_the_seeds() -> None:
    """Chains alike, so seeds alone spread: 0.5 and 0.6 become 0.55 -+ 0.05 sqrt(2), the variance of their mean."""
    one, other = _counts([[5] * 4, [6] * 4], [10] * 4), _counts([[4] * 4, [4] * 4], [10] * 4)
    compared = compare_counts(one, other, _RESAMPLES)
    assert compared.ci95 == pytest.approx((0.15, 0.15))
    stretched = 0.05 * math.sqrt(2)
    assert compared.seeds_ci95 == pytest.approx((0.15 - stretched, 0.15 + stretched))
    assert compared.seeds_p == pytest.approx(2 / (_RESAMPLES + 1))
    # One way or the other: the sign alone turns.
    back = compare_counts(other, one, _RESAMPLES)
    assert back.difference == pytest.approx(-compared.difference)
    assert back.p == compared.p


def test_an_arm_compared_with_itself_differs_by_nothing() -> None:
    one = _counts([[1, 2, 3], [2, 2, 3], [3, 2, 0]], [3, 3, 3])
    compared = compare_counts(one, one)
    assert (compared.difference, compared.p, compared.ci95) == (0.0, 1.0, (0.0, 0.0))
    assert compared.seeds_ci95 is not None
    assert compared.seeds_ci95[0] < 0 < compared.seeds_ci95[1]


def test_hidden_differences_of_rounding_are_no_evidence() -> None:
    thirds = _counts([[1, 2], [2, 2], [2, 3]], [3, 5])
    same = _counts([[2, 3], [1, 2], [2, 2]], [3, 5])
    compared = compare_counts(thirds, same)
    assert compared.difference == pytest.approx(0, abs=1e-15)
    assert compared.p == 1.0


def test_scores_that_are_undefined_are_left_out() -> None:
    def scores(sums_SK: np.ndarray) -> dict[str, np.ndarray]:
        return {"ratio": sums_SK[:, 0] / sums_SK[:, 1], "nothing": np.full(len(sums_SK), np.nan)}

    one_NK = np.array([[3.0, 4.0], [2.0, 4.0]])
    assert list(compare_scores(["a", "b"], one_NK, one_NK, scores)) == ["ratio"]
