"""Intervals over chains, and differences to the best trial on the same draws."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import bootstrap

from liftray.errors import DataError
from liftray.search.evidence import compare_to_best, read_counts


def _counts(shares: list[float], seed: int = 0) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return {f"v/{at}": (float(rng.binomial(100 + at, share)), 100.0 + at) for at, share in enumerate(shares)}


def test_intervals_are_those_of_scipys_bootstrap() -> None:
    one, two = _counts([0.7] * 40), _counts([0.6] * 40, seed=1)
    result = compare_to_best({1: one, 2: two}, best=1, resamples=20_000)
    correct, labelled = np.array(list(one.values())).T
    assert result[1].score == pytest.approx(correct.sum() / labelled.sum())
    oracle = bootstrap(
        (np.arange(40),),
        lambda rows, axis: correct[rows].sum(axis=axis) / labelled[rows].sum(axis=axis),
        vectorized=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert result[1].ci95 == pytest.approx((oracle.low, oracle.high), abs=1e-3)
    assert result[2].worse
    assert not result[2].suffices(0.05)
    assert result[2].difference_ci95[0] < result[2].difference < result[2].difference_ci95[1] < 0


def test_the_best_differs_from_itself_by_nothing() -> None:
    [result] = compare_to_best({4: _counts([0.5] * 5)}, best=4, resamples=200).values()
    assert (result.difference, result.difference_ci95, result.chains) == (0.0, (0.0, 0.0), 5)
    assert result.suffices(1e-9)
    assert not result.worse


def test_a_paired_difference_is_surer_than_the_scores() -> None:
    # Chains differ much, the two trials little: one residue in each chain.
    one = _counts(list(np.linspace(0.3, 0.9, 30)))
    two = {name: (correct - 1, count) for name, (correct, count) in one.items()}
    result = compare_to_best({1: one, 2: two}, best=1, resamples=2000)[2]
    assert result.difference_ci95[1] - result.difference_ci95[0] < 0.1 * (result.ci95[1] - result.ci95[0])
    assert result.worse
    assert result.suffices(0.02)


def test_other_chains_are_refused() -> None:
    with pytest.raises(DataError, match="trial 2"):
        compare_to_best({1: _counts([0.5] * 3), 2: _counts([0.5] * 4)}, best=1, resamples=10)


def test_chains_are_read_with_the_maps_q3_and_without_unlabelled_ones(tmp_path: Path) -> None:
    file = tmp_path / "validation.parquet"
    table = {
        "id": ["v/a", "v/b"],
        "labelled": [4, 0],
        "q3_dssp": [0.75, None],
        "q3_lift": [0.5, None],
        "q9": [0.25, None],
    }
    pq.write_table(pa.table(table), file)
    assert read_counts(file, "q3", "dssp") == {"v/a": (3.0, 4.0)}
    assert read_counts(file, "q3", "lift") == {"v/a": (2.0, 4.0)}
    assert read_counts(file, "q9", "dssp") == {"v/a": (1.0, 4.0)}
