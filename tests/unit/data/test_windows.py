"""Each residue of a chain is scored in exactly one of its windows, and seen with context on both sides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liftray.data.windows import divide


@given(st.lists(st.integers(0, 4000), max_size=20), st.integers(16, 700))
def test_scored_parts_cover_each_residue_once(lengths: list[int], max_length: int) -> None:
    windows = divide(np.array(lengths, dtype=np.int64), max_length)
    seen = [np.zeros(length, dtype=int) for length in lengths]
    for row, start, stop, left, right in zip(*windows, strict=True):
        assert 0 <= start <= left <= right <= stop <= lengths[row]
        assert stop - start <= max_length
        seen[row][left:right] += 1
    assert all((counts == 1).all() for counts in seen)


@given(st.integers(17, 4000), st.integers(16, 700))
def test_a_window_of_a_long_chain_is_full_and_leaves_context(length: int, max_length: int) -> None:
    windows = divide(np.array([length]), max_length)
    if length <= max_length:
        assert len(windows.row) == 1
        return
    assert (windows.lengths == max_length).all()
    context = max_length // 8 - 1
    inner_left, inner_right = windows.start > 0, windows.stop < length
    assert (windows.score_start - windows.start >= context)[inner_left].all()
    assert (windows.stop - windows.score_stop >= context)[inner_right].all()


def test_up_to_one_and_a_half_windows_are_two_halves_as_in_the_paper() -> None:
    for length in (512, 600, 766):
        windows = divide(np.array([length]), 511)
        assert windows.score_start.tolist() == [0, length // 2]
        assert windows.score_stop.tolist() == [length // 2, length]
        assert windows.start.tolist() == [0, length - 511]


def test_a_chain_that_fits_is_one_window() -> None:
    windows = divide(np.array([511, 1, 512]), 511)
    assert windows.row.tolist() == [0, 1, 2, 2]
    assert windows.lengths.tolist() == [511, 1, 511, 511]


def test_windows_come_in_the_order_of_chains_and_can_be_taken() -> None:
    windows = divide(np.array([30, 2000, 40]), 100)
    assert (np.diff(windows.row) >= 0).all()
    last = windows.take(np.array([len(windows.row) - 1, 0]))
    assert last.row.tolist() == [2, 0]
    assert last.lengths.tolist() == [40, 30]


def test_no_chain_gives_no_window() -> None:
    assert divide(np.zeros(0, dtype=np.int64), 511).row.shape == (0,)
