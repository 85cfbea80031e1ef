"""FASTA with labels: a pair of files, ids that come twice, and the PDB's ss.txt."""

import gzip
from pathlib import Path

import pytest

from liftray.data.formats import detect, expand, fasta, read
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError


def _summary(path: Path, alphabet: str = "ss8") -> list[tuple[str, str]]:
    """(id, sequence:labels) of good records and (id, reason) of bad ones."""
    return [
        (record.id, record.reason if isinstance(record, BadRecord) else f"{record.sequence}:{record.ss}")
        for record in read(path, format="fasta", alphabet=alphabet)
    ]


@pytest.mark.parametrize(
    ("sequences", "labels"),
    [
        ("x.fasta", "x.ss.fasta"),
        ("x.fasta", "x.labels.fasta"),
        ("x.fa.gz", "x.ss8.fa"),
        ("sequences.fasta", "labels.fasta"),
    ],
)
def test_pair_of_files(tmp_path: Path, sequences: str, labels: str) -> None:
    text = b">a one\nACD\nEF\n>b\nAC\n"
    (tmp_path / sequences).write_bytes(gzip.compress(text) if sequences.endswith(".gz") else text)
    (tmp_path / labels).write_text(">a SET=train\nLLH\nHH\n>b\nEE\n")
    path = tmp_path / sequences
    assert detect(path) == "fasta"
    assert _summary(path) == [("a", "ACDEF:LLHHH"), ("b", "AC:EE")]


def test_pair_is_one_input(tmp_path: Path) -> None:
    for name in ("x.fasta", "x.ss8.fasta"):
        (tmp_path / name).write_text(">a\nLL\n")
    paths = [tmp_path / "x.ss8.fasta", tmp_path / "x.fasta"]
    assert expand(paths) == [(tmp_path / "x.fasta", "fasta")]
    assert fasta.declared_alphabet(tmp_path / "x.fasta") == "ss8"


def test_several_label_files_need_an_alphabet(tmp_path: Path) -> None:
    (tmp_path / "x.fasta").write_text(">a\nAC\n")
    (tmp_path / "x.ss3.fasta").write_text(">a\nCC\n")
    (tmp_path / "x.ss8.fasta").write_text(">a\nLL\n")
    assert _summary(tmp_path / "x.fasta", "ss3") == [("a", "AC:CC")]
    assert _summary(tmp_path / "x.fasta", "ss8") == [("a", "AC:LL")]
    with pytest.raises(DataError, match=r"x\.ss3\.fasta, x\.ss8\.fasta.*--alphabet"):
        fasta.declared_alphabet(tmp_path / "x.fasta")


@pytest.mark.parametrize(
    ("sequences", "labels", "expected"),
    [
        (">a\nAC\n>b\nAC\n", ">a\nLL\n", [("a", "AC:LL"), ("b", "missing-labels")]),
        (">a\nAC\n", ">a\nLL\n>b\nLL\n", [("a", "AC:LL"), ("b", "missing-sequence")]),
        (
            ">a\nAC\n>b\nAC\n",
            ">a\nLL\n>c\nLL\n",
            [("a", "AC:LL"), ("b", "missing-labels"), ("c", "missing-sequence")],
        ),
        (">a\nAC\n", "note\n>a\nLL\n", [("", "no-header"), ("a", "AC:LL")]),
        (">a\nAC\n", ">a\nL\n", [("a", "length-mismatch")]),
        (">a\n>b\nA\n", ">a\nL\n>b\nL\n", [("a", "empty"), ("b", "A:L")]),
    ],
)
def test_pair_that_does_not_fit(
    tmp_path: Path, sequences: str, labels: str, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / "x.fasta").write_text(sequences)
    (tmp_path / "x.ss.fasta").write_text(labels)
    assert _summary(tmp_path / "x.fasta") == expected


def test_pair_with_truncated_labels(tmp_path: Path) -> None:
    count = 3000
    (tmp_path / "x.fasta").write_text("".join(f">c{n}\nACD\n" for n in range(count)))
    packed = gzip.compress("".join(f">c{n}\nLLL\n" for n in range(count)).encode())
    (tmp_path / "x.ss.fasta.gz").write_bytes(packed[: len(packed) // 2])
    reasons = _summary(tmp_path / "x.fasta")
    assert [name for name, _ in reasons] == [f"c{n}" for n in range(count)]
    good = sum(reason == "ACD:LLL" for _, reason in reasons)
    assert 0 < good < count
    assert reasons[good][1] == "truncated-gzip"
    assert {reason for _, reason in reasons[good + 1 :]} == {"missing-labels"}


def test_ids_that_come_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a\nACD\nE\n>a\nLLH\nH\n>b\nAC\n>c\nAC\n>c\nEE\n>d\nAC\n")
    assert detect(path) == "fasta"
    assert _summary(path) == [
        ("a", "ACDE:LLHH"),
        ("b", "missing-labels"),
        ("c", "AC:EE"),
        ("d", "missing-labels"),
    ]


def test_pdb_ss_txt(tmp_path: Path) -> None:
    path = tmp_path / "ss.txt"
    path.write_text(
        ">101M:A:sequence\nMVLSE\nGEW\n>101M:A:secstr\n  HHH\n TT\n"
        ">1ABC:B:secstr\nHH\n>1ABC:C:sequence\nAC\n>2ABC:A:sequence\nAC\n>2ABC:A:secstr\n  \n"
    )
    assert detect(path) == "fasta"
    assert fasta.declared_alphabet(path) == "ss8"
    assert _summary(path) == [
        ("101M:A", "MVLSEGEW:LLHHHLTT"),
        ("1ABC:B", "missing-sequence"),
        ("1ABC:C", "missing-labels"),
        ("2ABC:A", "AC:LL"),
    ]


def test_pdb_ss_txt_whose_blanks_were_trimmed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ss.txt"
    path.write_text(">101M:A:sequence\nMVLS\n>101M:A:secstr\n  H\n")
    assert _summary(path) == [("101M:A", "length-mismatch")]


def test_truncated_single_file_reports_the_open_chain_once(tmp_path: Path) -> None:
    text = "".join(f">c{n}\nACD\n>c{n}\nLLL\n" for n in range(3000))
    packed = gzip.compress(text.encode())
    path = tmp_path / "x.fasta.gz"
    path.write_bytes(packed[: len(packed) // 2])
    records = list(read(path, format="fasta", alphabet="ss8"))
    assert [record.id for record in records] == [f"c{n}" for n in range(len(records))]
    assert isinstance(records[-1], BadRecord)
    assert records[-1].reason == "truncated-gzip"
    assert all(isinstance(record, ProteinRecord) for record in records[:-1])
