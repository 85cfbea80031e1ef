"""Draws over chains, against scipy and against cases computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from liftray.statistics import resampling
from liftray.statistics.resampling import (
    bootstrap_sums,
    percentile_interval,
    swapped_sums,
    with_drawn_runs,
)


def _columns(count: int = 40, seed: int = 0) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    size_N = rng.integers(50, 300, size=count)
    return [f"chain{at}" for at in range(count)], np.stack(
        [rng.binomial(size_N, 0.7), size_N], axis=1
    ).astype(float)


def test_the_interval_of_a_pooled_ratio_is_that_of_scipy() -> None:
    chains, matrix_N2 = _columns()
    sums_S2 = bootstrap_sums(chains, matrix_N2, 20_000)
    low, high = percentile_interval(sums_S2[:, 0] / sums_S2[:, 1], len(chains)) or (0.0, 0.0)
    oracle = stats.bootstrap(
        (matrix_N2[:, 0], matrix_N2[:, 1]), lambda hits, size, axis: hits.sum(axis) / size.sum(axis),
        paired=True, vectorized=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    # Monte Carlo error of a 2.5 % quantile at 20,000 draws: about 2 % of the interval's width.
    tolerance = 0.05 * (oracle.high - oracle.low)
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=tolerance)


def test_the_order_of_the_rows_does_not_matter() -> None:
    chains, matrix_N2 = _columns()
    order = np.random.default_rng(3).permutation(len(chains))
    turned = [chains[at] for at in order]
    for draw in (bootstrap_sums, swapped_sums):
        assert np.array_equal(draw(chains, matrix_N2, 300), draw(turned, matrix_N2[order], 300))


def test_draws_in_blocks_are_the_draws_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    chains, matrix_N2 = _columns()
    whole = [draw(chains, matrix_N2, 301) for draw in (bootstrap_sums, swapped_sums)]
    monkeypatch.setattr(resampling, "_BLOCK", 7 * len(chains))
    blocks = [draw(chains, matrix_N2, 301) for draw in (bootstrap_sums, swapped_sums)]
    assert all(np.array_equal(one, other) for one, other in zip(whole, blocks, strict=True))


def test_fewer_resamples_are_the_first_of_more() -> None:
    chains, matrix_N2 = _columns()
    assert np.array_equal(
        bootstrap_sums(chains, matrix_N2, 100), bootstrap_sums(chains, matrix_N2, 2000)[:100]
    )


def test_each_chain_is_drawn_once_on_average_and_swapped_half_of_the_time() -> None:
    chains = [f"c{at}" for at in range(8)]
    drawn_SN = bootstrap_sums(chains, np.eye(8), 20_000)
    assert (drawn_SN.sum(axis=1) == 8).all()
    assert drawn_SN.mean(axis=0) == pytest.approx(np.ones(8), abs=0.03)
    assert swapped_sums(chains, np.eye(8), 20_000).mean(axis=0) == pytest.approx(np.full(8, 0.5), abs=0.02)


def test_the_spread_of_drawn_runs_is_that_of_their_mean() -> None:
    # Scores 0.5 and 0.6 in every resample: the mean of two draws is 0.55 with deviations of 0.05 sqrt(2) / sqrt(2).
    (means_S,) = with_drawn_runs(np.tile([0.5, 0.6], (20_000, 1)))
    assert means_S.mean() == pytest.approx(0.55, abs=1e-3)
    assert means_S.std() == pytest.approx(math.sqrt(0.05**2), rel=0.02)


def test_an_interval_needs_two_chains_and_leaves_undefined_resamples_out() -> None:
    values_S = np.array([np.nan, *np.linspace(0, 1, 1001)])
    assert percentile_interval(values_S, 2) == pytest.approx((0.025, 0.975))
    assert percentile_interval(values_S, 1) is None
    assert percentile_interval(np.full(3, np.nan), 5) is None
