"""Telling formats apart, and turning what a user names into files."""

import subprocess
import sys
from pathlib import Path

import pytest

from liftray.data.formats import FORMATS, detect, expand, read
from liftray.data.formats.names import alphabet_in_name
from liftray.errors import DataError


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("x.txt", ">a\nAC\nLL\n>b\nAC\nLL\n", "three-line"),
        ("x.txt", "\n\n>a\nAC\nLL", "three-line"),
        ("x.fasta", ">a\nAC\nLL\n", "three-line"),
        ("x.fasta", ">a\nAC\n>a\nLL\n", "fasta"),
        ("x.csv", "id,sequence,ss\na,A,L\n", "table"),
        ("x.csv", "id,seq,n,q3\na,A,1,C\n", "netsurfp-csv"),
        ("x.cif", "data_x\n", "structures"),
        ("x.pdb.gz", "any", "structures"),
        ("x.ENT", "any", "structures"),
        ("x.fasta", ">a TARGET=HH\nAC\n", "fasta"),
        ("x.dssp", "==== Secondary Structure Definition by the program DSSP\n", "dssp"),
        ("x.ss2", "# PSIPRED VFORMAT\n\n   1 M C   0.9  0.1  0.0\n", "psipred"),
        ("x.json", '{"sequence": "A", "ss8": "L"}\n', "jsonl"),
    ],
)
def test_detect(tmp_path: Path, name: str, text: str, format: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert detect(path) == format
    assert format in FORMATS


@pytest.mark.parametrize("text", ["hello\nworld\n", "a,b,c\n1,2,3\n"])
def test_unknown_format_names_the_option(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.dat"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.dat: format not recognised.*--format"):
        detect(path)


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("b.cif", "a.pdb.gz", "notes.txt"):
        (tmp_path / "s" / name).write_text("x")
    assert expand([tmp_path / "s"]) == [
        (tmp_path / "s" / "a.pdb.gz", "structures"),
        (tmp_path / "s" / "b.cif", "structures"),
    ]
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="without Parquet or structure files"):
        expand([tmp_path / "other"])


def test_expand_refuses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no input files"):
        expand([])
    with pytest.raises(DataError, match=r"unknown format 'fastq'.*three-line"):
        expand([tmp_path / "x"], "fastq")
    with pytest.raises(DataError, match="no such file"):
        expand([tmp_path / "none.txt"])
    with pytest.raises(DataError, match="no such file"):
        list(read(tmp_path / "none.txt", format="three-line", alphabet="ss9"))


@pytest.mark.parametrize(
    ("name", "alphabet"),
    [
        ("train.ss9.txt", "ss9"),
        ("train.SS8.txt.gz", "ss8"),
        ("ss3.csv", "ss3"),
        ("train_ss3.tsv", "ss3"),
        ("train.txt", None),
        ("class9.txt", None),
        ("x.ss3.ss8.txt", None),
    ],
)
def test_alphabet_in_name(name: str, alphabet: str | None) -> None:
    assert alphabet_in_name(name) == alphabet


def test_readers_are_imported_when_used() -> None:
    code = (
        "import sys, liftray.data.formats; print(*(m in sys.modules for m in ('pyarrow.parquet', 'gemmi')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
