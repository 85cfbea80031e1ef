"""The lines that ingest prints: unexpected content of the data has a line, expected content has none."""

from pathlib import Path

from liftray.data.formats import dssp
from liftray.data.ingest import ingest
from liftray.data.ingest_summary import lines
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
