"""The lines that ingest prints: unexpected content of the data has a line, expected content has none."""

from pathlib import Path

import pytest

from liftray.data.formats import dssp
from liftray.data.ingest import ingest
from liftray.data.ingest_summary import lines
from liftray.errors import DataError
from tests.parts.peptides import HELIX, backbone, make, save


def _lines(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "x.ss8.txt"
    path.write_text(text)
    out = tmp_path / "out"
    return [line.replace(str(out), "OUT") for line in lines(ingest([path], out))]


def test_plain_data_need_one_line(tmp_path: Path) -> None:
    assert _lines(tmp_path, ">a\nACD\nLLL\n>b\nAC\nHX\n") == ["OUT: 2 chains, 5 residues, labels ss8"]


def test_chains_without_labels_repeats_and_contradictions_have_one_line(tmp_path: Path) -> None:
    text = ">a\nACD\nLLL\n>b\nACD\nLLL\n>c\nACD\nLLH\n>d\nAC\nXX\n>e\nGG\nL\n"
    assert _lines(tmp_path, text) == [
        "OUT: 4 chains, 11 residues, labels ss8",
        "OUT: 1 chains without any label (all X), 2 chains repeat the sequence of an earlier one, "
        "1 of them with other labels (dataset.json lists them; first: c and a)",
        "OUT/quarantine.jsonl: 1 bad records, each with file, line, id and reason",
    ]


def test_the_program_that_assigned_states_is_named_with_its_version(tmp_path: Path) -> None:
    path = save(make(backbone([HELIX] * 12), ["ALA"] * 12), tmp_path / "t.pdb")
    summary = ingest([path], tmp_path / "out")
    assert summary["assigned_by"] == dssp.assigner()
    name, version = dssp.assigner().split()
    assert name == ("mdtraj" if dssp.mkdssp_version() is None else "mkdssp")
    assert version[0].isdigit()
    assert lines(summary)[0].endswith(f"labels ss9, assigned by {name} {version}")


@pytest.mark.parametrize(
    ("labels", "name", "why", "options"),
    [
        ("LCS", "ss8", "'C' is not in ss8; if 'C' is coil", "--labels C=L"),
        ("L-S", "ss8", "'-' is not in ss8; if '-' is coil", "--labels=-=L"),
        ("L S", "ss8", "a blank is not in ss8; if a blank is coil", "--labels blank=L"),
        ("LPS", "ss8", "'P' is not in ss8; if the labels are ss9", "--alphabet ss9"),
        ("LHH", "ss3", "'L' is not in ss3; if 'L' is coil in three states", "--labels L=C"),
        ("CTH", "ss3", "'T' is not in ss3; if the labels are ss8", "--alphabet ss8"),
        ("LQH", "ss8", "'Q' is not in ss8; if 'Q' means no label", "--labels Q=X"),
    ],
)
def test_chains_refused_for_their_labels_are_a_warning_with_the_command(
    tmp_path: Path, labels: str, name: str, why: str, options: str
) -> None:
    path, good = tmp_path / f"x.{name}.txt", "CHH" if name == "ss3" else "LHH"
    path.write_text(f">a\nACD\n{good}\n>b\nACD\n{labels}\n")
    summary = ingest([path], tmp_path / "out")
    command = f"liftray ingest {path} --out {tmp_path / 'out'} {options}"
    assert summary["warnings"] == [f"1 of 2 chains are not in the data set, because {why}, run: {command}"]


def test_no_chain_left_is_an_error_with_the_command(tmp_path: Path) -> None:
    path = tmp_path / "x.ss8.txt"
    path.write_text(">a\nACD\nCCS\n")
    with pytest.raises(DataError, match=r"ambiguous-coil 1.*run: liftray ingest .*--labels C=L"):
        ingest([path], tmp_path / "out")
    assert ingest([path], tmp_path / "out", labels=["C=L"])["label_histogram"]["L"] == 2
