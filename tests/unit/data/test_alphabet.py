"""Telling the alphabet from the argument, from what files declare, and from the letters."""

from pathlib import Path

import pytest

from liftray.data.alphabet import choose_alphabet
from liftray.errors import DataError


def _three_line(folder: Path, *labels: str, name: str = "x.txt") -> tuple[Path, str]:
    path = folder / name
    path.write_text("".join(f">c{n}\n{'A' * len(ss)}\n{ss}\n" for n, ss in enumerate(labels)))
    return path, "three-line"


@pytest.mark.parametrize(
    ("labels", "alphabet"),
    [
        (["CCHHX"], "ss3"),
        (["LLHHX"], "ss8"),
        (["HHH", "EE", "XXSX"], "ss8"),
        (["LLHH", "LLPP"], "ss9"),
        (["CCHH", "EEHH", "CCC", "LLLP"], "ss3"),  # the one that does not fit is quarantined later
        (["LLHH", "GGG", "CCC"], "ss8"),
        (["LLHH", "LLHHQ", "CCSS"], "ss8"),  # letters of no alphabet, or of two, do not count
    ],
)
def test_letters(tmp_path: Path, labels: list[str], alphabet: str) -> None:
    assert choose_alphabet([_three_line(tmp_path, *labels)]) == (alphabet, "letters")


@pytest.mark.parametrize("labels", [["HHH", "EEX"], ["CCSS"], ["???"]])
def test_letters_that_say_nothing(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"cannot tell the alphabet.*--alphabet"):
        choose_alphabet([_three_line(tmp_path, *labels)])


def test_letters_of_several_files_count_together(tmp_path: Path) -> None:
    files = [_three_line(tmp_path, "LLHH", name="a.txt"), _three_line(tmp_path, "PPP", name="b.txt")]
    assert choose_alphabet(files) == ("ss9", "letters")


def test_name_goes_before_letters_and_argument_before_name(tmp_path: Path) -> None:
    files = [_three_line(tmp_path, "LLHH", name="x.ss9.txt")]
    assert choose_alphabet(files) == ("ss9", "declared")
    assert choose_alphabet(files, "ss8") == ("ss8", "argument")


def test_files_that_disagree(tmp_path: Path) -> None:
    files = [_three_line(tmp_path, "LL", name=f"x.{name}.txt") for name in ("ss8", "ss9")]
    with pytest.raises(DataError, match=r"x\.ss8\.txt is ss8.*x\.ss9\.txt is ss9.*separately"):
        choose_alphabet(files)


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown alphabet 'ss7'.*ss9, ss8, ss3"):
        choose_alphabet([_three_line(tmp_path, "LL")], "ss7")
