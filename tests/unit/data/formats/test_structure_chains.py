"""Which residues of a structure file make which chain: parted, never lost, never joined, and nothing else in them."""

import bz2
import lzma
import zipfile
from pathlib import Path

import gemmi
import numpy as np
import pytest

from liftray.data.formats import structures
from liftray.data.formats.dssp import BACKBONE_ATOMS, ChainBackbone, assign_states, mkdssp_version
from liftray.data.formats.structures.residue_names import Kind, fits, kind, letter
from liftray.data.records import BadRecord
from tests.parts.peptides import (
    HELIX,
    NAMES,
    SEQUENCE,
    backbone,
    chains_of,
    good,
    helix,
    one_atom,
    only,
    pdb_lines,
    save,
    write_lines,
)

ALA, GLY = ["ALA"] * 10, ["GLY"] * 12
ONE, TWO = pdb_lines(ALA), pdb_lines(GLY, shift=40.0)
NAMELESS = [pdb_lines(ALA, chain=""), pdb_lines(GLY, chain="", first=11, shift=40.0)]

# --- where a chain ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closing", ["TER", "TER      99      ALA     10", "END"])
def test_a_blank_chain_is_parted_where_the_file_closes_a_molecule(tmp_path: Path, closing: str) -> None:
    path = write_lines(tmp_path / "t.pdb", NAMELESS[0], closing, NAMELESS[1])
    assert chains_of(path) == {"A": "A" * 10, "B": "G" * 12}


@pytest.mark.parametrize("between", [[], ["TER"], ["TER      99      ALA A  10"]])
def test_numbers_that_start_again_start_a_second_chain(tmp_path: Path, between: list[str]) -> None:
    path = write_lines(tmp_path / "t.pdb", ONE, between, TWO, "TER", "END")
    assert chains_of(path) == {"A": "A" * 10, "A-2": "G" * 12}


def test_numbers_that_go_back_part_chains_that_no_bond_joins(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.pdb", pdb_lines(ALA, first=50), pdb_lines(GLY, shift=40.0))
    assert chains_of(path) == {"A": "A" * 10, "A-2": "G" * 12}


def test_numbers_that_go_back_inside_a_bonded_chain_part_nothing(tmp_path: Path) -> None:
    places = backbone([HELIX] * 22)
    head = pdb_lines(ALA, first=50, places=places[:10])
    path = write_lines(tmp_path / "t.pdb", head, pdb_lines(GLY, places=places[10:]))
    assert chains_of(path) == {"A": "A" * 10 + "G" * 12}


def test_end_between_chains_loses_nothing(tmp_path: Path) -> None:
    second = pdb_lines(GLY, chain="B", shift=40.0)
    assert chains_of(write_lines(tmp_path / "t.pdb", ONE, "END", second, "END")) == {
        "A": "A" * 10,
        "B": "G" * 12,
    }


def test_only_the_first_model_counts_whatever_marks_it(tmp_path: Path) -> None:
    expected = {"A": "A" * 10}
    frame = pdb_lines(ALA, shift=3.0)
    for name, parts in {
        "models": ["MODEL        1", *ONE, "ENDMDL", "MODEL        2", *frame, "ENDMDL"],
        "empty": ["MODEL        0", "ENDMDL", "MODEL        1", *ONE, "ENDMDL", "MODEL        2", *TWO],
        "unclosed": ["MODEL        1", *ONE, "MODEL        2", *frame],
        "frames": [*ONE, "END", *frame, "END"],
        "late": [*ONE, "ENDMDL", "MODEL        1", *frame],
    }.items():
        assert chains_of(write_lines(tmp_path / f"{name}.pdb", parts)) == expected, name


def test_ter_at_a_gap_parts_no_chain_that_fits_its_seqres(tmp_path: Path) -> None:
    seqres = f"SEQRES   1 A   13  {' '.join(['ALA'] * 13)}"
    second = pdb_lines(["ALA"] * 2, first=12, shift=40.0)
    path = write_lines(tmp_path / "t.pdb", seqres, ONE, "TER", second, "TER")
    record = good(path)
    assert (record.sequence, record.ss) == ("A" * 13, "LHHHHHHHHLXLL")


def test_ter_inside_a_bonded_chain_parts_nothing(tmp_path: Path) -> None:
    places = backbone([HELIX] * 22)
    rest = pdb_lines(GLY, first=14, places=places[10:])
    path = write_lines(tmp_path / "t.pdb", pdb_lines(ALA, places=places[:10]), "TER", rest, "TER")
    assert chains_of(path) == {"A": "A" * 10 + "G" * 12}


# --- what is no residue ------------------------------------------------------------------------------------------

OTHERS = [
    ("CL", "CL"),
    ("NA", "NA"),
    ("SOD", "SOD"),
    ("POT", "POT"),
    ("CLA", "CLA"),
    ("Cl-", "Cl-"),
    ("O", "HOH"),
    ("OW", "SOL"),
    ("OH2", "TIP3"),
    ("O", "WAT"),
    ("OW", "SPC"),
    ("N", "POPC"),
    ("N", "DPPC"),
    ("C1", "LIG"),
    ("FE", "HEM"),
]


@pytest.mark.parametrize(("atom", "name"), OTHERS)
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
def test_solvent_ions_lipids_and_ligands_are_no_residues(
    tmp_path: Path, atom: str, name: str, record: str
) -> None:
    others = [one_atom(atom, name, number, record=record) for number in (11, 12)]
    for i, closing in enumerate(([], ["TER"])):
        path = write_lines(tmp_path / f"{i}.pdb", NAMELESS[0], closing, others, "END")
        assert chains_of(path) == {"A": "A" * 10}


def test_a_free_amino_acid_is_a_ligand(tmp_path: Path) -> None:
    free = pdb_lines(["GLU"], first=200, shift=60.0, record="HETATM")
    for i, closing in enumerate(([], ["TER"])):
        assert chains_of(write_lines(tmp_path / f"{i}.pdb", ONE, closing, free)) == {"A": "A" * 10}


def test_an_unknown_residue_counts_where_a_peptide_bond_holds_it(tmp_path: Path) -> None:
    names = ["ALA", "ALA", "QQQ", "ALA", "ALA"]
    assert chains_of(write_lines(tmp_path / "t.pdb", pdb_lines(names))) == {"A": "AAXAA"}
    alone = pdb_lines(["QQQ"], first=20, shift=50.0)
    assert chains_of(write_lines(tmp_path / "u.pdb", ONE, alone)) == {"A": "A" * 10}


def test_a_nucleotide_has_no_amino_acids_letter(tmp_path: Path) -> None:
    bases = [
        one_atom("P", name, i, chain="")
        for i, name in enumerate(["DA", "DC", "A", "C", "G", "T", "U", "ADE", "DA5"])
    ]
    path = write_lines(tmp_path / "t.pdb", bases, "TER", NAMELESS[1])
    assert chains_of(path) == {"A": "G" * 12}
    assert [letter(name) for name in ("A", "C", "G", "T", "U", "DA", "HOH", "NA")] == ["X"] * 8
    assert chains_of(write_lines(tmp_path / "dna.pdb", bases)) == {"": "no-protein-chain"}


# --- names -------------------------------------------------------------------------------------------------------


def test_names_of_four_letters_are_read_whole(tmp_path: Path) -> None:
    names = ["NLYS", "LYSH", "GLUP", "ASPP", "CYSH", "HISB", "NALA", "HSD", "HIE", "CYX", "LYN", "CTHR"]
    assert chains_of(write_lines(tmp_path / "t.pdb", pdb_lines(names, chain=""))) == {"A": "KKEDCHAHHCKT"}


def test_chain_names_of_two_letters_are_read_where_four_letters_mean_nothing(tmp_path: Path) -> None:
    lines = [f"{line[:20]}A{line[21:]}" for line in pdb_lines(["HIS", "GLN", *["ALA"] * 6], chain="B")]
    assert chains_of(write_lines(tmp_path / "t.pdb", lines)) == {"AB": "HQAAAAAA"}


def test_names_of_one_amino_acid_fit_each_other() -> None:
    assert fits("HSD", "HIS")
    assert fits("MSE", "MET")
    assert not fits("ALA", "GLY")
    assert not fits("QQQ", "HEM")
    assert kind("HOH") is Kind.OTHER
    assert kind("DA") is Kind.NUCLEOTIDE


def test_other_names_under_seqres_match(tmp_path: Path) -> None:
    seqres = "SEQRES   1 A    5  HIS MET LYS GLU CYS"
    path = write_lines(tmp_path / "t.pdb", seqres, pdb_lines(["HSD", "MSE", "LYN", "GLH", "CYX"]))
    assert good(path).sequence == "HMKEC"


def test_chains_without_a_name_beside_named_ones_get_free_letters(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.pdb", ONE, "TER", pdb_lines(GLY, chain="", shift=40.0))
    assert chains_of(path) == {"A": "A" * 10, "B": "G" * 12}


# --- where residues stand in the full sequence --------------------------------------------------------------------


def test_the_authors_numbers_place_an_island_in_a_repeat(tmp_path: Path) -> None:
    repeat = ["ALA", "GLY", "SER"] * 6
    seqres = [
        f"SEQRES   1 A   18  {' '.join(repeat[:13])}",
        f"SEQRES   2 A   18  {' '.join(repeat[13:])}",
    ]
    head, tail = pdb_lines(repeat[:4]), pdb_lines(repeat[12:16], first=13, shift=40.0)
    record = good(write_lines(tmp_path / "t.pdb", seqres, head, tail))
    assert record.sequence == "AGS" * 6
    assert record.ss == "LLLL" + "X" * 8 + "LLLLXX"
    # Numbers that no single shift fits: the second island is still where its own numbers say.
    tail = pdb_lines(repeat[12:16], first=14, shift=40.0)
    middle = pdb_lines(repeat[6:9], first=8, shift=20.0)
    record = good(write_lines(tmp_path / "u.pdb", seqres, head, middle, tail))
    assert record.ss == "LLLLXXLLLXXXLLLLXX"


def test_insertion_codes_and_negative_numbers_are_in_order(tmp_path: Path) -> None:
    lines = pdb_lines(ALA, first=-3)
    lines[16:20] = [f"{line[:22]}   0A{line[27:]}" for line in lines[16:20]]
    assert chains_of(write_lines(tmp_path / "t.pdb", lines)) == {"A": "A" * 10}


def test_hybrid_36_numbers_are_one_chain(tmp_path: Path) -> None:
    lines = pdb_lines(ALA, first=9995)
    for k, number in enumerate(["A000", "A001", "A002", "A003", "A004"]):
        lines[20 + 4 * k : 24 + 4 * k] = [
            f"{line[:22]}{number}{line[26:]}" for line in pdb_lines(ALA)[20 + 4 * k : 24 + 4 * k]
        ]
    assert chains_of(write_lines(tmp_path / "t.pdb", lines)) == {"A": "A" * 10}


# --- coordinates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0.000", "nan", "inf", "9999.999"])
def test_coordinates_that_are_no_measurement_are_refused(tmp_path: Path, value: str) -> None:
    lines = [f"{line[:30]}{value:>8}{value:>8}{value:>8}{line[54:]}" for line in ONE]
    assert chains_of(write_lines(tmp_path / "t.pdb", lines)) == {"A": "bad-coordinates"}


@pytest.mark.parametrize("text", ["******", "1_0.000"])
def test_a_coordinate_that_is_no_number_is_reported_with_its_line(tmp_path: Path, text: str) -> None:
    lines = list(ONE)
    lines[6] = lines[6][:30] + f"{text:>8}" + lines[6][38:]
    record = only(write_lines(tmp_path / "t.pdb", lines))
    assert isinstance(record, BadRecord)
    assert (record.reason, record.detail[:8]) == ("unreadable-structure", "line 7: ")


# --- the file around the atoms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_and_a_missing_last_one(tmp_path: Path, ending: str) -> None:
    path = write_lines(tmp_path / "t.pdb", ONE, ending=ending)
    assert chains_of(path) == {"A": "A" * 10}
    path.write_bytes(path.read_bytes().rstrip())
    assert chains_of(path) == {"A": "A" * 10}


def test_anisou_lines_anywhere_change_nothing(tmp_path: Path) -> None:
    anisou = [f"ANISOU{line[6:28]}   1000   1000   1000" for line in ONE]
    assert chains_of(write_lines(tmp_path / "t.pdb", anisou[:3], ONE, anisou[3:])) == {"A": "A" * 10}


@pytest.mark.parametrize("name", ["t.pdb1", "t.pdb.bz2", "t.pdb.xz", "t.ent.zip", "T.PDB.XZ"])
def test_names_and_compressions(tmp_path: Path, name: str) -> None:
    content = write_lines(tmp_path / "source.pdb", ONE).read_bytes()
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.ent", content)
    else:
        pack = {"bz2": bz2.compress, "xz": lzma.compress, "pdb1": bytes}[name.lower().rsplit(".", 1)[1]]
        path.write_bytes(pack(content))
    record = good(path)
    assert (record.id, record.sequence) == (f"{name[0]}_A", "A" * 10)


def test_a_damaged_compressed_file_gives_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.pdb.bz2"
    path.write_bytes(bz2.compress("\n".join(ONE).encode())[:-20])
    record = only(path)
    assert isinstance(record, BadRecord)
    assert (record.reason, record.detail) == ("unreadable-structure", "the bzip2 stream ends early")


# --- mmCIF -------------------------------------------------------------------------------------------------------


def cif_rows(text: str, drop: str) -> str:
    """The mmCIF text without one item of its atoms."""
    document = gemmi.cif.read_string(text)
    table = document[0].find_mmcif_category("_atom_site.")
    kept = [tag for tag in table.tags if tag != f"_atom_site.{drop}"]
    columns = [list(document[0].find_values(tag)) for tag in kept]
    document[0].find_mmcif_category("_atom_site.").erase()
    loop = document[0].init_loop("", kept)
    loop.set_all_values(columns)
    return str(document.as_string())


@pytest.mark.parametrize(
    "drop",
    [
        "label_alt_id",
        "pdbx_PDB_ins_code",
        "auth_seq_id",
        "auth_asym_id",
        "label_entity_id",
        "group_PDB",
        "label_seq_id",
    ],
)
def test_an_mmcif_without_an_item_is_read(tmp_path: Path, drop: str) -> None:
    structure = helix(full=[NAMES[one] for one in SEQUENCE])
    structure.assign_label_seq_id()
    path = save(structure, tmp_path / "t.cif")
    path.write_text(cif_rows(path.read_text(), drop))
    assert list(chains_of(path).values()) == [SEQUENCE]


def test_an_mmcif_without_coordinates_says_so(tmp_path: Path) -> None:
    path = save(helix(), tmp_path / "t.cif")
    path.write_text(cif_rows(path.read_text(), "Cartn_y"))
    record = only(path)
    assert isinstance(record, BadRecord)
    assert (record.reason, record.detail) == ("unreadable-structure", "_atom_site has no Cartn_y")


def test_the_first_block_with_atoms_is_read(tmp_path: Path) -> None:
    path = save(helix(), tmp_path / "t.cif")
    path.write_text("data_comp\n_chem_comp.id HEM\n" + path.read_text())
    assert chains_of(path) == {"A": SEQUENCE}


def test_a_residue_that_the_file_calls_part_of_a_polypeptide_counts_without_a_bond(tmp_path: Path) -> None:
    places = backbone([HELIX] * 7)
    places[0] += 50.0  # the first residue is far from the others
    items = "label_atom_id label_comp_id label_asym_id label_seq_id label_entity_id Cartn_x Cartn_y Cartn_z"
    lines = ["data_x", "loop_", *(f"_atom_site.{item}" for item in items.split())]
    for i, name in enumerate(["QQQ", *["ALA"] * 6]):
        for atom_name, xyz in zip(BACKBONE_ATOMS, places[i], strict=True):
            lines.append(f"{atom_name} {name} A {i + 1} 1 " + " ".join(f"{x:.3f}" for x in xyz))
    assert chains_of(write_lines(tmp_path / "t.cif", lines)) == {"A": "A" * 6}
    entity = ["loop_", "_entity_poly.entity_id", "_entity_poly.type", "1 'polypeptide(L)'"]
    assert chains_of(write_lines(tmp_path / "u.cif", lines, entity)) == {"A": "X" + "A" * 6}


# --- states of the whole file ------------------------------------------------------------------------------------


def test_two_bonded_chains_keep_their_identity() -> None:
    places = backbone([HELIX] * 24)
    names = ("ALA",) * 12
    apart = [ChainBackbone(names, places[:12], "A"), ChainBackbone(names, places[12:], "B")]
    joined = [ChainBackbone(names, places[:12], "A"), ChainBackbone(names, places[12:], "A")]
    for method in ("mkdssp", "mdtraj") if mkdssp_version() else ("mdtraj",):
        assert assign_states(apart, method) == ["L" + "H" * 10 + "L"] * 2  # type: ignore[arg-type]
    if mkdssp_version():
        assert assign_states(joined, "mkdssp") == ["L" + "H" * 11, "H" * 11 + "L"]


@pytest.mark.skipif(mkdssp_version() is None, reason="mkdssp is not installed")
def test_more_chains_than_letters() -> None:
    chains = [ChainBackbone(("ALA",) * 8, backbone([HELIX] * 8, shift=30.0 * i)) for i in range(70)]
    assert assign_states(chains, "mkdssp") == ["L" + "H" * 6 + "L"] * 70


def test_a_large_structure_without_seqres_takes_linear_time(tmp_path: Path) -> None:
    length = 4000
    places = np.tile(backbone([HELIX] * 8), (length // 8, 1, 1))
    places += np.repeat(np.arange(length // 8), 8)[:, None, None] % 900
    names = [*NAMES.values()] * (length // 6 + 1)
    lines = pdb_lines(names[:length], places=places)
    (chain,) = structures.load(write_lines(tmp_path / "t.pdb", lines))
    assert len(chain.sequence) == length
