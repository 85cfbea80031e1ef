import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.statistics import holm as module
from liftray.statistics.holm import holm


def test_the_example_of_the_docstring_holds() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed


def test_holm_of_a_case_computed_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, max(0.06, 0.025 * 2), 0.4 * 1; in the order given.
    assert holm([0.4, 0.01, 0.025, 0.02]) == pytest.approx([0.4, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.3))
def test_holm_rejects_what_the_step_down_rule_rejects(p_values: list[float], level: float) -> None:
    rejected = set()
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[at] * (len(p_values) - rank) > level:
            break
        rejected.add(at)
    adjusted = holm(p_values)
    assert {at for at, value in enumerate(adjusted) if value <= level} == rejected
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
