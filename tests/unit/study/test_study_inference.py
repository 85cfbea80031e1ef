"""Intervals and comparisons of a study's arms."""

import numpy as np
import pytest

from liftray.errors import DataError
from liftray.statistics.paired import ChainCounts
from liftray.study import inference
from liftray.study.inference import compare, intervals

_ALL = {"resamples": 4000}


def _sample(hits: list[list[float]], size: list[float]) -> ChainCounts:
    chains = tuple(f"c{at}" for at in range(len(size)))
    return ChainCounts(chains, np.array(hits, dtype=float), np.array(size, dtype=float))


def test_the_interval_is_that_of_chains_drawn_with_replacement() -> None:
    # Two chains of equal size: draws give 0.2, 0.5 (half of them) or 0.8, so the 95 % interval spans them all.
    # Only the mean over seeds counts, so seeds that differ do not widen it.
    result = intervals(
        {"one": _sample([[2, 8]], [10, 10]), "seeds": _sample([[0, 10], [4, 6]], [10, 10])}, **_ALL
    )
    assert result == {"one": pytest.approx((0.2, 0.8)), "seeds": pytest.approx((0.2, 0.8))}
    assert intervals({"q3": _sample([[2]], [10])}, **_ALL) == {"q3": None}


def test_a_comparison_becomes_a_row_of_json() -> None:
    one = _sample([[1, 2, 3], [2, 2, 3]], [3, 3, 3])
    row = inference.as_row(compare(one, one, **_ALL))
    assert list(row) == ["difference", "ci95", "p", "seeds_ci95", "seeds_p"]
    assert (row["difference"], row["ci95"], row["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert row["seeds_ci95"][0] < 0 < row["seeds_ci95"][1]


@pytest.mark.parametrize("other", [_sample([[1, 1]], [3, 4]), _sample([[1]], [3])])
def test_arms_scored_on_other_residues_are_not_compared(other: ChainCounts) -> None:
    with pytest.raises(DataError, match="different chains or labels"):
        compare(_sample([[1, 1]], [3, 3]), other, **_ALL)
