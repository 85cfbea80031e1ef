"""No cell of a CSV file is a formula for a spreadsheet."""

import pytest

from liftray.reporting.tables import csv_cell


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "\u2212"])
@pytest.mark.parametrize(
    "front", ["", " ", "\t", "\r", "\n", "\u3000", "\xa0", "\ufeff", "\u200b", "\x00", " \t ", '"', "'"]
)
def test_a_formula_is_quoted(front: str, sign: str) -> None:
    text = f"{front}{sign}cmd|' /C calc'!A0"
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["\tx", "\rx", "\nx"])
def test_a_text_that_may_begin_a_cell_of_its_own_is_quoted(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "1abc_A", "sp|P1|X", " padded", "a=b", "über"])
def test_other_texts_stay(text: str) -> None:
    assert csv_cell(text) == text
