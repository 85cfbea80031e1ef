"""Parts of a split: FLIP's files, biotrainer's headers, and what happens where parts are mixed."""

from pathlib import Path

import pytest

from liftray.data.formats import detect, expand, read
from liftray.data.formats.parts import PartGuard
from liftray.data.ingest import ingest
from liftray.data.records import BadRecord
from liftray.errors import DataError

SEQUENCES = {"1abc-A": "MKTAY", "2abc-B": "ACDEF", "3abc-A": "GGHHI"}
LABELS = {
    "1abc-A SET=train VALIDATION=False": "CCHHH",
    "2abc-B SET=train VALIDATION=True": "CEEEC",
    "3abc-A SET=test VALIDATION=False": "CCCCH",
}
MASK = {"1abc-A": "01110", "2abc-B": "11111", "3abc-A": "00000"}


def _fasta(path: Path, records: dict[str, str]) -> None:
    path.write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))


@pytest.fixture
def flip(tmp_path: Path) -> Path:
    folder = tmp_path / "flip"
    folder.mkdir()
    _fasta(folder / "sequences.fasta", SEQUENCES)
    _fasta(folder / "sampled.fasta", LABELS)
    _fasta(folder / "mask.fasta", MASK)
    return folder


def _taken(path: Path, part: str | None) -> list[tuple[str, str]]:
    records = read(path, alphabet="ss3", parts=PartGuard(part))
    return [(one.id, one.reason if isinstance(one, BadRecord) else one.ss) for one in records]


def test_flip_is_split_and_masked(flip: Path) -> None:
    path = flip / "sequences.fasta"
    assert detect(path) == "fasta"
    assert _taken(path, "train") == [("1abc-A", "XCHHX")]
    assert _taken(path, "validation") == [("2abc-B", "CEEEC")]
    assert _taken(path, "test") == [("3abc-A", "XXXXX")]
    assert len(_taken(path, "all")) == 3


def test_flip_mixed_is_refused_with_the_command(flip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f"liftray ingest {flip} --out {out} --alphabet ss3 --set train"
    with pytest.raises(DataError, match="sets 'train' and 'validation' are mixed") as caught:
        ingest([flip], out, alphabet="ss3")
    assert command in str(caught.value)
    assert not out.exists()


def test_flip_as_a_directory_or_as_its_files_is_one_input(flip: Path) -> None:
    expected = [(flip / "sequences.fasta", "fasta")]
    assert expand([flip]) == expected
    assert expand(sorted(flip.iterdir())) == expected
    with pytest.raises(
        DataError, match=r"mask\.fasta: labels or a mask of sequences\.fasta; name .*sequences\.fasta"
    ):
        expand([flip / "mask.fasta"])


def test_part_is_taken_and_the_others_are_counted(flip: Path, tmp_path: Path) -> None:
    summary = ingest([flip], tmp_path / "out", set="train")
    assert (summary["num_chains"], summary["set"], summary["alphabet"]) == (1, "train", "ss3")
    assert summary["left_out"] == {"test": 1, "validation": 1}
    assert summary["label_histogram"] == {"C": 1, "E": 0, "H": 2, "X": 2}
    assert set(summary["sources"][0]) >= {"labels", "mask"}
    with pytest.raises(DataError, match=r"no chain of the set 'extra'.*test, train, validation"):
        ingest([flip], tmp_path / "out", alphabet="ss3", set="extra")


def test_files_in_other_orders_are_joined_by_id(flip: Path) -> None:
    _fasta(flip / "sampled.fasta", dict(reversed(LABELS.items())))
    _fasta(flip / "mask.fasta", {name: MASK[name] for name in ("2abc-B", "1abc-A", "3abc-A")})
    assert sorted(_taken(flip / "sequences.fasta", "all")) == [
        ("1abc-A", "XCHHX"),
        ("2abc-B", "CEEEC"),
        ("3abc-A", "XXXXX"),
    ]


@pytest.mark.parametrize(
    ("mask", "reason"), [({"1abc-A": "0111"}, "mask-mismatch"), ({"9abc-A": "11111"}, "missing-mask")]
)
def test_mask_that_does_not_fit(flip: Path, mask: dict[str, str], reason: str) -> None:
    rest = {name: text for name, text in MASK.items() if name != "1abc-A"}
    _fasta(flip / "mask.fasta", {**mask, **rest})
    assert dict(_taken(flip / "sequences.fasta", "all"))["1abc-A"] == reason


def test_biotrainer_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a TARGET=CHH SET=train MASK=110\nMK\nT\n>b SET=val TARGET=EE\nAC\n>c SET=pred\nAC\n")
    assert detect(path) == "fasta"
    assert _taken(path, "train")[0] == ("a", "CHX")
    assert ("b", "EE") in _taken(path, "validation")
    assert ("c", "missing-labels") in _taken(path, "all")


def test_parts_of_several_files_do_not_mix(tmp_path: Path) -> None:
    for part in ("train", "test"):
        _fasta(tmp_path / f"{part}.ss3.txt", {f"{part} SET={part}": "ACD\nCHH"})
    files = [tmp_path / "train.ss3.txt", tmp_path / "test.ss3.txt"]
    with pytest.raises(DataError, match=r"test\.ss3\.txt: chains of the sets 'train' and 'test'"):
        ingest(files, tmp_path / "out")
    assert ingest(files, tmp_path / "out", set="all")["num_chains"] == 2


@pytest.mark.parametrize("names", [("a", "a_ss"), ("a", "a_labels"), ("a", "a")])
def test_labels_in_a_second_record(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(f">{names[0]} one\nMK\nT\n>{names[1]}\nCH\nH\n")
    assert detect(path) == "fasta"
    assert _taken(path, None) == [("a", "CHH")]


@pytest.mark.parametrize("sequences", ["train_sequences.fasta", "seqs.fasta", "my.sequences.fa"])
def test_names_of_two_files(tmp_path: Path, sequences: str) -> None:
    labels = sequences.replace("sequences", "labels").replace("seqs", "labels")
    _fasta(tmp_path / sequences, {"a": "MKT"})
    _fasta(tmp_path / labels, {"a": "CHH"})
    assert _taken(tmp_path / sequences, None) == [("a", "CHH")]


def test_fasta_without_labels_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a\nMKTAYIAK\n>b\nACD\nEFG\nHIK\n")
    with pytest.raises(
        DataError, match=r"no labelled chain: 2 records refused .*x\.ss\.fasta.*x_ss.*TARGET="
    ):
        ingest([path], tmp_path / "out")
