"""What other tools write, read as labelled chains: DSSP (classic and mmCIF), PSIPRED, JSON lines."""

from pathlib import Path

import pytest

from liftray.data.formats import FORMATS, detect, read
from liftray.data.ingest import ingest
from liftray.data.records import BadRecord
from liftray.errors import DataError

HEAD = "==== Secondary Structure Definition by the program DSSP, {version} ==== DATE=2026-11-28 .\n"
TABLE = "  #  RESIDUE AA STRUCTURE BP1 BP2  ACC     N-H-->O    O-->H-N\n"


def _row(number: int, chain: str, residue: str, state: str) -> str:
    return f"{number:5d}{number:5d} {chain} {residue}  {state}              0   0   92      0, 0.0\n"


def _classic(path: Path, rows: list[str], version: str = "NKI version 4.0") -> Path:
    path.write_text(HEAD.format(version=version) + TABLE + "".join(rows))
    return path


BREAK, NEXT = f"{3:5d}        !{'':>14}0   0    0\n", f"{3:5d}        !*{'':>13}0   0    0\n"


def _summary(path: Path, alphabet: str) -> list[tuple[str, str]]:
    return [
        (one.id, one.reason if isinstance(one, BadRecord) else f"{one.sequence}:{one.ss}")
        for one in read(path, alphabet=alphabet)
    ]


def test_classic_dssp(tmp_path: Path) -> None:
    rows = [_row(1, "A", "K", " "), _row(2, "A", "a", "P"), BREAK, _row(4, "A", "G", "H"), NEXT]
    rows += [_row(6, "B", "M", "E"), NEXT, _row(8, "B", "T", "T")]
    path = _classic(tmp_path / "1abc.dssp", rows)
    assert detect(path) == "dssp"
    assert FORMATS["dssp"].declared_alphabet(path) == "ss9"
    assert _summary(path, "ss9") == [("1abc_A", "KCG:LPH"), ("1abc_B", "M:E"), ("1abc_B-2", "T:T")]
    assert _summary(path, "ss8")[0] == ("1abc_A", "KCG:LLH")
    assert _summary(path, "ss3")[0] == ("1abc_A", "KCG:CCH")


def test_old_dssp_has_eight_states(tmp_path: Path) -> None:
    path = _classic(tmp_path / "x.txt", [_row(1, "A", "K", "H")], "CMBI version by M.L. Hekkelman/2010-10-21")
    assert detect(path) == "dssp"
    assert FORMATS["dssp"].declared_alphabet(path) == "ss8"


def test_dssp_that_is_cut(tmp_path: Path) -> None:
    path = _classic(tmp_path / "x.dssp", [_row(1, "A", "K", "H"), "    2    2 A"])
    with pytest.raises(DataError, match=r"x\.dssp:4: a row of the DSSP table is cut"):
        list(read(path, alphabet="ss9"))
    path.write_text(HEAD.format(version="NKI version 4.0"))
    with pytest.raises(DataError, match="no table of DSSP's classic format"):
        list(read(path, alphabet="ss9"))


def test_mmcif_dssp(tmp_path: Path) -> None:
    path = tmp_path / "1abc.dssp"
    path.write_text(
        "data_1ABC\nloop_\n_dssp_struct_summary.entry_id\n_dssp_struct_summary.label_comp_id\n"
        "_dssp_struct_summary.label_asym_id\n_dssp_struct_summary.label_seq_id\n"
        "_dssp_struct_summary.secondary_structure\n"
        "1ABC MET A 1 .\n1ABC MSE A 2 P\n1ABC GLY B 1 H\n"
        "loop_\n_pdbx_poly_seq_scheme.asym_id\n_pdbx_poly_seq_scheme.pdb_strand_id\nA H\nB L\n"
    )
    assert detect(path) == "dssp"
    assert _summary(path, "ss9") == [("1abc_H", "MM:LP"), ("1abc_L", "G:H")]


SS2 = "# PSIPRED VFORMAT (PSIPRED V4.0)\n\n   1 M C   0.999  0.000  0.001\n   2 K H   0.1  0.9  0.0\n"
HORIZ = "# PSIPRED HFORMAT (PSIPRED V4.0)\n\nConf: 98\nPred: CH\n  AA: MK\n        \n\nConf: 9\nPred: E\n  AA: T\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"), [("x.ss2", SS2, "MK:CH"), ("x.horiz", HORIZ, "MKT:CHE")]
)
def test_psipred(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert detect(path) == "psipred"
    assert _summary(path, "ss3") == [("x", expected)]
    summary = ingest([path], tmp_path / "out")
    assert summary["warnings"] == [f"the labels of {name} are predictions, not observed states"]


@pytest.mark.parametrize("text", [SS2.replace("   2 K", "   3 K"), SS2 + "what\n"])
def test_psipred_that_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.ss2").write_text(text)
    assert _summary(tmp_path / "x.ss2", "ss3") == [("x", "malformed-row")]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"id": "a", "sequence": "MKT", "dssp8": "CHS", "mask": [1, 1, 0]}\n\n'
        '{"id": "b", "sequence": ["M", "K"], "dssp8": ["H", "H"]}\n{"id": "c", "sequence": "M"}\n[1]\n{\n'
    )
    assert detect(path) == "jsonl"
    assert FORMATS["jsonl"].declared_alphabet(path) == "ss8"
    assert _summary(path, "ss8") == [
        ("a", "MKT:LHX"),
        ("b", "MK:HH"),
        ("c", "empty"),
        ("", "malformed-row"),
        ("", "malformed-row"),
    ]


@pytest.mark.parametrize(
    "text", ['[{"id": "a"}]', '{"id": "a"}', "{" * 100_000, '{"seq": "A", "Seq": "A", "ss": "L"}']
)
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"JSON without a sequence and labels.*one object a line"):
        detect(tmp_path / "x.json")
