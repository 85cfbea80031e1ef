"""The page of malformed inputs says what each reader does: every cell is run again."""

import pytest

from tests.fuzz.malformed import KINDS, PAGE, READERS, Reader, row


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_the_page_says_what_the_reader_does(reader: Reader) -> None:
    assert row(reader) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_every_kind_and_no_other_reader() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert rows[0] == "| reader | " + " | ".join(KINDS) + " |"
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows[1:]] == [one.name for one in READERS]
