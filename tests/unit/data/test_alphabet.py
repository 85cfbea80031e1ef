"""Telling the alphabet from the argument, from what files declare, and from the letters."""

from pathlib import Path

import pytest

from liftray.data.alphabet import choose_alphabet
from liftray.data.remedy import IngestCommand
from liftray.errors import DataError


def _three_line(folder: Path, *labels: str, name: str = "x.txt") -> tuple[Path, str]:
    path = folder / name
    path.write_text("".join(f">c{n}\n{'A' * len(ss)}\n{ss}\n" for n, ss in enumerate(labels)))
    return path, "three-line"


@pytest.mark.parametrize(
    ("labels", "alphabet"),
    [
        (["CCHHX"], "ss3"),
        (["LLHHX", "LLHTT"], "ss8"),
        (["HHH", "EE", "XXSX"], "ss8"),
        (["LLHH", "LLPP"], "ss9"),
        (["CCHH", "EEHH", "CCC", "LLLP"], "ss3"),  # the one that does not fit is quarantined later
        (["LLHH", "GGG", "CCC"], "ss8"),
        (["LLHH", "LLSS", "LLHHQ", "CCSS"], "ss8"),  # letters of no alphabet do not count
    ],
)
def test_letters(tmp_path: Path, labels: list[str], alphabet: str) -> None:
    assert choose_alphabet([_three_line(tmp_path, *labels)]) == (alphabet, "letters")


@pytest.mark.parametrize("labels", [["HHH", "EEX"], ["???"]])
def test_letters_that_say_nothing(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"cannot tell the alphabet.*--alphabet"):
        choose_alphabet([_three_line(tmp_path, *labels)])


@pytest.mark.parametrize(
    ("labels", "commands"),
    [
        (["LLHHEE"], ["--alphabet ss3 --labels L=C", "--alphabet ss8"]),
        (["LLHHEE"] * 3 + ["LLSS"], ["--alphabet ss3 --labels L=C", "--alphabet ss8"]),
        (["CCSSHH", "CCHH"], ["--alphabet ss8 --labels C=L", "--alphabet ss8 --labels C=X"]),
        (["CCHH"] * 9 + ["CCPP"], ["--alphabet ss9 --labels C=L"]),
        (["--HHTT"], ["--alphabet ss8 --labels=-=L", "--alphabet ss8 --labels=-=X"]),
        (["H H TT"], ["--alphabet ss8 --labels blank=L"]),
        (["HHEE__", "CCHH"], ["--alphabet ss3 --labels _=C"]),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked_for(
    tmp_path: Path, labels: list[str], commands: list[str]
) -> None:
    path, format = _three_line(tmp_path, *labels)
    command = IngestCommand((str(path),), "my out")
    with pytest.raises(DataError) as caught:
        choose_alphabet([(path, format)], command=command)
    for options in commands:
        assert f"run: liftray ingest {path} --out 'my out' {options}" in str(caught.value)


def test_label_map_goes_before_the_letters(tmp_path: Path) -> None:
    files = [_three_line(tmp_path, "CCSSHH", "CCHHPP")]
    assert choose_alphabet(files, labels={"C": "L"}) == ("ss9", "letters")
    with pytest.raises(DataError, match="'L' is no state of ss3"):
        choose_alphabet(files, "ss3", labels={"C": "L"})


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
