import doctest

import pytest

from liftray.reporting import tables


def test_the_examples_of_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(tables)
    assert attempted
    assert not failed


def test_a_markdown_table_keeps_its_cells_apart() -> None:
    text = tables.markdown(["set", "Q3"], [["a|b", "1.00"], ["", "22.50"]])
    assert text.splitlines() == ["| set | Q3 |", "| --- | ---: |", "| a\\|b | 1.00 |", "|  | 22.50 |"]


def test_a_padded_table_has_lines_of_one_length() -> None:
    lines = tables.markdown(
        ["name", "value", "unit"], [["long name", "1", "s"]], text=(0, 2), padded=True
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| --------- | ----: | ---- |"
    assert lines[2] == "| long name |     1 | s    |"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tables.percent(0.7551), "75.51"),
        (tables.percent(None), "–"),
        (tables.percent_between((0.1, 0.25)), "10.00 to 25.00"),
        (tables.percent_between(None), "–"),
        (tables.points(-0.0123), "−1.23"),
        (tables.points_between([-0.01, 0.02]), "−1.00 to +2.00"),
        (tables.points_between(None), "–"),
        (tables.signed(0.12345, 4), "+0.1235"),
        (tables.p_value(0.0123), "0.012"),
        (tables.p_value(0.0004), "< 0.001"),
        (tables.p_value(None), "–"),
        (tables.as_text({"a": [1, None], "b": []}), "a 1, none, b none"),
        (tables.setting(0.000123456), "0.0001235"),
        (tables.setting(16), "16"),
    ],
)
def test_numbers_as_text(made: str, expected: str) -> None:
    assert made == expected
