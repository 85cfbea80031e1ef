"""Entries of the PDB: labels are those that mkdssp gives for the whole file, read with and without mkdssp."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liftray.data.formats import dssp, structures
from liftray.data.formats.dssp import mkdssp_version
from liftray.data.records import BadRecord, ProteinRecord
from tests.parts.peptides import METHODS, only, raw_mkdssp

Find = Callable[[str], Path]


@pytest.fixture
def structure(real_data: Find) -> Find:
    """Find a structure file of the real data sets, or skip."""
    return lambda name: real_data(f"structures/{name}")


def reference(file: Path) -> dict[str, tuple[str, str]]:
    lines = file.read_text().splitlines()
    return {lines[i][1:]: (lines[i + 1], lines[i + 2]) for i in range(0, len(lines), 3)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["1aki.cif", "1dix.cif", "1k6p.cif"])
def test_labels_are_those_of_the_reference(structure: Find, name: str, method: dssp.Method) -> None:
    expected = {
        key: value
        for key, value in reference(structure("reference.ss9.txt")).items()
        if key.startswith(name[:4])
    }
    found = {r.id: r for r in structures.read(structure(name), alphabet="ss9", method=method)}
    assert found.keys() == expected.keys()
    for key, (sequence, ss) in expected.items():
        record = found[key]
        assert isinstance(record, ProteinRecord)
        assert record.sequence == sequence
        if method == "mkdssp":
            assert record.ss == ss
        same = sum(a == b for a, b in zip(record.ss, ss, strict=True))
        assert same >= 0.995 * len(ss), key


@pytest.mark.skipif(mkdssp_version() is None, reason="mkdssp is not installed")
def test_without_mkdssp_the_labels_are_the_same_to_half_a_per_cent(structure: Find) -> None:
    same = total = 0
    for path in sorted(structure("1aki.cif").parent.glob("*cif")):
        pairs = zip(
            *(structures.read(path, alphabet="ss9", method=m) for m in ("mkdssp", "mdtraj")), strict=True
        )
        here = [
            a == b
            for one, other in pairs
            for a, b in zip(getattr(one, "ss", ""), getattr(other, "ss", ""), strict=True)
        ]
        assert sum(here) >= 0.995 * len(here), path.name
        same, total = same + sum(here), total + len(here)
    assert total > 1000
    assert same >= 0.995 * total


@pytest.mark.skipif(mkdssp_version() is None, reason="mkdssp is not installed")
@pytest.mark.parametrize("name", ["1aki.cif", "1dix.cif", "1k6p.cif"])
def test_our_cut_down_file_gives_what_mkdssp_gives_for_the_whole(
    structure: Find, name: str, tmp_path: Path
) -> None:
    found = [r for r in structures.read(structure(name), alphabet="ss9") if isinstance(r, ProteinRecord)]
    assert {r.id[5:]: r.ss.replace("X", "") for r in found} == raw_mkdssp(structure(name), tmp_path)


@pytest.mark.parametrize(
    ("name", "chains"),
    [("1ay7.bcif", "AB"), ("1hml.bcif", "A"), ("1mol.bcif", "AB"), ("3lzm.bcif", "A")],
)
def test_binarycif_is_read(structure: Find, name: str, chains: str) -> None:
    found = list(structures.read(structure(name), alphabet="ss9", method="mdtraj"))
    assert [r.id for r in found] == [f"{name[:4]}_{chain}" for chain in chains]
    for record in found:
        assert isinstance(record, ProteinRecord)
        assert len(record.sequence) == len(record.ss) > 80


@pytest.mark.parametrize("name", ["1bna.cif", "03F.cif"])
def test_files_without_protein_are_quarantined(structure: Find, name: str) -> None:
    record = only(structure(name))
    assert isinstance(record, BadRecord)
    assert (record.reason, record.id) == ("no-protein-chain", name.removesuffix(".cif"))
