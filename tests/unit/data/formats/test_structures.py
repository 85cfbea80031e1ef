"""Structure files become one record a protein chain; labels are those of mkdssp, with or without mkdssp."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from liftray.data.formats import dssp, structures
from liftray.data.formats.dssp import ChainBackbone, assign_states, mkdssp_version
from liftray.data.records import BadRecord
from liftray.errors import DataError
from tests.parts.peptides import (
    HELIX,
    METHODS,
    NAMES,
    POLYPROLINE,
    SEQUENCE,
    atom,
    backbone,
    good,
    helix,
    make,
    only,
    raw_mkdssp,
    save,
)

# --- states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_ideal_helix_is_helix(method: dssp.Method) -> None:
    (ss,) = assign_states([ChainBackbone(("ALA",) * 12, backbone([HELIX] * 12))], method)
    assert ss == "L" + "H" * 10 + "L"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("inside", "expected"), [(3, "LLPPPLLL"), (2, "LLLLLLLL"), (1, "LLLLLLLL"), (4, "LLPPPPLL")]
)
def test_polyproline_takes_three_in_a_row(method: dssp.Method, inside: int, expected: str) -> None:
    angles = [(-120.0, 170.0)] * 2 + [POLYPROLINE] * inside + [(-120.0, 170.0)] * (6 - inside)
    (ss,) = assign_states([ChainBackbone(("ALA",) * 8, backbone(angles))], method)
    assert ss == expected


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_of_a_chain_have_no_polyproline(method: dssp.Method) -> None:
    (ss,) = assign_states([ChainBackbone(("PRO",) * 6, backbone([POLYPROLINE] * 6))], method)
    assert ss == "LPPPPL"


@pytest.mark.parametrize("method", METHODS)
def test_incomplete_residues_are_unlabelled_and_break_the_chain(method: dssp.Method) -> None:
    atoms_L43 = backbone([HELIX] * 24)
    atoms_L43[12, 3] = np.nan
    (ss,) = assign_states([ChainBackbone(("ALA",) * 24, atoms_L43)], method)
    assert ss[12] == "X"
    assert "X" not in ss[:12] + ss[13:]
    assert ss[2:10] == ss[15:22] + "H" == "H" * 8


@pytest.mark.parametrize("method", METHODS)
def test_without_a_whole_residue_nothing_is_labelled(method: dssp.Method) -> None:
    assert assign_states([ChainBackbone(("ALA",) * 3, np.full((3, 4, 3), np.nan))], method) == ["XXX"]


@pytest.mark.skipif(mkdssp_version() is None, reason="mkdssp is not installed")
def test_both_methods_agree_on_many_chains_together() -> None:
    rng = np.random.default_rng(0)
    regions = np.array([HELIX, POLYPROLINE, (-120.0, 130.0), (60.0, 40.0)])
    chains = []
    for c in range(8):
        angles = regions[np.repeat(rng.integers(0, 4, 12), 5)] + rng.normal(0, 8, (60, 2))
        names = rng.choice(["ALA", "PRO", "GLY"], 60).tolist()
        chains.append(ChainBackbone(tuple(names), backbone([tuple(pair) for pair in angles], shift=4.0 * c)))
    one, other = "".join(assign_states(chains, "mkdssp")), "".join(assign_states(chains, "mdtraj"))
    same = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    assert same >= 0.995
    assert set(one) >= {"H", "L", "P", "S", "T"}


def test_a_missing_mkdssp_is_reported_or_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    mkdssp_version.cache_clear()
    chain = ChainBackbone(("ALA",) * 12, backbone([HELIX] * 12))
    try:
        assert assign_states([chain], "auto") == ["L" + "H" * 10 + "L"]
        with pytest.raises(DataError, match="mkdssp not found; install mkdssp 4"):
            assign_states([chain], "mkdssp")
    finally:
        mkdssp_version.cache_clear()


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.pdb", "t.ent", "t.cif", "t.mmcif", "t.pdb.gz", "t.cif.gz", "T.PDB"])
def test_all_formats_give_the_same_record(tmp_path: Path, name: str) -> None:
    source = save(helix(), tmp_path / ("x.pdb" if "pdb" in name.lower() or "ent" in name else "x.cif"))
    path = tmp_path / name
    path.write_bytes(gzip.compress(source.read_bytes()) if name.endswith("gz") else source.read_bytes())
    record = good(path)
    assert (record.id, record.source) == (f"{name.split('.')[0]}_A", name)
    assert (record.sequence, record.ss) == (SEQUENCE, "L" + "H" * 18 + "L")


def test_labels_map_down_to_the_alphabet_asked_for(tmp_path: Path) -> None:
    path = save(helix(), tmp_path / "t.pdb")
    assert good(path, "ss3").ss == "C" + "H" * 18 + "C"
    with pytest.raises(DataError, match="unknown alphabet"):
        list(structures.read(path, alphabet="ss5"))


def test_unresolved_residues_stand_in_the_sequence_without_label(tmp_path: Path) -> None:
    names = [NAMES[letter] for letter in SEQUENCE]
    full = ["GLY", "SER", *names, "TRP"]
    for name in ("t.pdb", "t.cif"):
        record = good(save(helix(full=full), tmp_path / name))
        assert record.sequence == "GS" + SEQUENCE + "W"
        assert record.ss == "XXL" + "H" * 18 + "LX"


def test_residues_beside_their_own_seqres_are_quarantined(tmp_path: Path) -> None:
    record = only(save(helix(["TRP", "MET"] * 6, full=["ALA"] * 12), tmp_path / "t.pdb"))
    assert isinstance(record, BadRecord)
    assert (record.reason, record.id) == ("seqres-mismatch", "t_A")


def test_modified_and_unknown_residues(tmp_path: Path) -> None:
    record = good(save(helix(["MSE", "SEP", "UNK", "HSD", "CYX", "ALA", "SEC", "PYL"]), tmp_path / "t.pdb"))
    assert record.sequence == "MSXHCAUO"


def test_the_last_conformation_counts_as_in_mkdssp(tmp_path: Path) -> None:
    structure, straight = helix(), backbone([(-120.0, 130.0)] * 20)
    for residue, places in zip(structure[0]["A"], straight, strict=True):
        for old in residue:
            old.altloc = "A"
        for name, xyz in zip(dssp.BACKBONE_ATOMS, places, strict=True):
            residue.add_atom(atom(name, xyz, "B"))
    path = save(structure, tmp_path / "t.pdb")
    assert good(path).ss == "L" * 20
    if mkdssp_version() is not None:
        header = "HEADER    PEPTIDE                                 01-JAN-00   1TST\n"  # mkdssp asks for one
        path.write_text(header + path.read_text())
        assert raw_mkdssp(path, tmp_path) == {"A": "L" * 20}


def test_the_first_of_two_residues_at_one_place_names_it(tmp_path: Path) -> None:
    structure = helix()
    twin = structure[0]["A"][5].clone()
    twin.name = "LEU"
    for old, altloc in ((structure[0]["A"][5], "A"), (twin, "B")):
        for one in old:
            one.altloc = altloc
    structure[0]["A"].add_residue(twin, 6)
    assert good(save(structure, tmp_path / "t.pdb")).sequence == SEQUENCE
    structure.entities[0].full_sequence = [NAMES[letter] for letter in SEQUENCE]
    assert good(save(structure, tmp_path / "u.pdb")).sequence == SEQUENCE


def test_only_the_first_model_counts(tmp_path: Path) -> None:
    structure = helix()
    structure.add_model(make(backbone([POLYPROLINE] * 20), ["PRO"] * 20)[0])
    structure.renumber_models()
    assert good(save(structure, tmp_path / "t.pdb")).sequence == SEQUENCE


def test_chains_without_a_name_take_that_of_their_segment(tmp_path: Path) -> None:
    structure = helix()
    for residue in structure[0]["A"]:
        residue.segment = "PROA"
    other = make(backbone([HELIX] * 12, shift=40.0), ["GLY"] * 12)[0]["A"]
    for residue in other:
        residue.segment = "PROB"
        structure[0]["A"].add_residue(residue)
    structure[0]["A"].name = " "
    found = list(structures.read(save(structure, tmp_path / "md.pdb"), alphabet="ss9", method="mdtraj"))
    assert [(r.id, getattr(r, "sequence", "")) for r in found] == [
        ("md_PROA", SEQUENCE),
        ("md_PROB", "G" * 12),
    ]


def test_pdb_files_from_before_1996_have_names_in_the_last_columns(tmp_path: Path) -> None:
    lines = save(helix(), tmp_path / "x.pdb").read_text().splitlines()
    lines = ["HEADER    OLD                                     01-JAN-90   1OLD", *lines]
    path = tmp_path / "old.pdb"
    path.write_text("".join(f"{line[:72]:72s}1OLD{i:4d}\n" for i, line in enumerate(lines)))
    assert good(path).sequence == SEQUENCE


def test_a_trace_and_a_stub_are_too_short(tmp_path: Path) -> None:
    trace = only(save(helix(atoms=["CA"]), tmp_path / "trace.pdb"))
    stub = only(save(helix(["ALA", "GLY"], atoms=["N", "CA", "C"]), tmp_path / "stub.pdb"))
    for record in (trace, stub):
        assert isinstance(record, BadRecord)
        assert record.reason == "too-few-residues"


@pytest.mark.parametrize("name", ["x.pdb", "x.cif", "x.bcif", "x.cif.gz"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff" * 400, b"data_x\nloop_\n_atom_site.id\n'", b"\x1f\x8b\x08\x00"]
)
def test_damaged_files_are_quarantined(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    record = only(path)
    assert isinstance(record, BadRecord)
    assert (record.file, record.id) == (str(path), "x")
    # A PDB reader takes any text for a file without atoms.
    assert record.reason == "unreadable-structure" or (
        name == "x.pdb" and record.reason == "no-protein-chain"
    )


def test_a_truncated_gzip_is_quarantined(tmp_path: Path) -> None:
    whole = save(helix(), tmp_path / "t.cif.gz").read_bytes()
    path = tmp_path / "cut.cif.gz"
    path.write_bytes(whole[: len(whole) // 2])
    record = only(path)
    assert isinstance(record, BadRecord)
    assert record.reason == "unreadable-structure"


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(structures.read(tmp_path / "none.cif", alphabet="ss9"))
