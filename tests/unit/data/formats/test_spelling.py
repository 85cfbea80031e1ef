"""One rule for lists of letters, blank labels, label maps and masks, whatever the format."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray.data.formats import read
from liftray.data.formats.spelling import check_labels, parse_labels, plain
from liftray.data.records import BadRecord, WrittenRecord
from liftray.errors import DataError


def _plain(sequence: str, ss: str, labels: dict[str, str] | None = None, **more: str) -> str:
    record = plain(WrittenRecord("a", sequence, ss, "x", 1, **more), labels or {}, "x.txt")
    return record.reason if isinstance(record, BadRecord) else f"{record.sequence}:{record.ss}"


@pytest.mark.parametrize(
    ("sequence", "ss", "expected"),
    [
        ("M K T", "L H H", "MKT:LHH"),
        ("M,K,T", "L,H,H", "MKT:LHH"),
        ("['M', 'K', 'T']", "['L', 'H', 'H']", "MKT:LHH"),
        ("M K T", "LHH", "MKT:LHH"),
        ("MKTAY IAKQR", "LLLLL HHHHH", "MKTAYIAKQR:LLLLLHHHHH"),
        ("MKT", "L H", "MKT:L H"),  # one character a residue: the blank is a label
        ("MKT", "LH ", "MKT:LH "),
        ("MKT", " HH", "MKT: HH"),
        ("MKT", "LHH  ", "MKT:LHH"),  # behind the last residue it is layout
        ("MKT", "LH   ", "MKT:LH "),
        ("MKT", "L ", "MKT:L "),  # neither fits: left as it is, to be refused
        ("M K", "L H L", "MK:L H L"),
    ],
)
def test_blanks(sequence: str, ss: str, expected: str) -> None:
    assert _plain(sequence, ss) == expected


def test_the_format_s_coil_and_the_user_s_map() -> None:
    assert _plain("MKT", "CHC", coil="C") == "MKT:LHL"
    assert _plain("MKT", "CHC", {"C": "X"}, coil="C") == "MKT:XHX"
    assert _plain("MKT", "CH-", {"-": "L"}, coil="C") == "MKT:LHL"
    assert _plain("MKT", "CHL", coil="C") == "ambiguous-coil"
    assert _plain("MKT", "LHE", {"L": "C"}) == "MKT:CHE"
    assert _plain("MKT", "H E", {" ": "C"}) == "MKT:HCE"


@pytest.mark.parametrize(
    "mask", ["011", "0 1 1", "[0.0, 1.0, 1.0]", "[0. 1. 1.]", "0,1,1", "False True True"]
)
def test_mask_zero_is_no_label(mask: str) -> None:
    assert _plain("MKT", "LHH", mask=mask) == "MKT:XHH"


@pytest.mark.parametrize("mask", ["01", "0 1", "0 1 2", "0 1 0.5", "x"])
def test_mask_that_does_not_fit(mask: str) -> None:
    assert _plain("MKT", "LHH", mask=mask) == "mask-mismatch"


@pytest.mark.parametrize("mask", ["", " ", "nan", "None"])
def test_no_mask(mask: str) -> None:
    assert _plain("MKT", "LHH", mask=mask) == "MKT:LHH"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["C=L"], {"C": "L"}),
        (["C=L,-=L", "blank=X"], {"C": "L", "-": "L", " ": "X"}),
        ("C=L,_=L", {"C": "L", "_": "L"}),
        ({"C": "L", "blank": "L"}, {"C": "L", " ": "L"}),
        (["==X", ",=X"], {"=": "X", ",": "X"}),
        ([" =L"], {" ": "L"}),
        ([], {}),
    ],
)
def test_label_maps(pairs: list[str], expected: dict[str, str]) -> None:
    assert parse_labels(pairs) == expected


@pytest.mark.parametrize("pairs", [["C"], ["=L"], ["C="], ["CC=L"], ["C=Q"], ["C=l"], ["C=L", "C=X"]])
def test_bad_label_maps(pairs: list[str]) -> None:
    with pytest.raises(DataError, match="--labels"):
        parse_labels(pairs)


def test_label_map_of_another_alphabet() -> None:
    with pytest.raises(DataError, match=r"L=C: 'C' is no state of ss8"):
        check_labels({"L": "C"}, "ss8")
    check_labels({"L": "C", "-": "X"}, "ss3")


ROWS = [("M K T", "L - H"), ("MKT", "L-H")]


@pytest.mark.parametrize("name", ["x.txt", "x.fasta", "x.csv", "x.parquet", "x.jsonl"])
@pytest.mark.parametrize(("sequence", "ss"), ROWS)
def test_one_rule_for_every_format(tmp_path: Path, name: str, sequence: str, ss: str) -> None:
    path = tmp_path / name
    if name == "x.parquet":
        pq.write_table(pa.table({"id": ["a"], "seq": [sequence], "ss8": [ss]}), path)
    else:
        path.write_text(
            {
                "x.txt": f">a\n{sequence}\n{ss}\n",
                "x.fasta": f">a\n{sequence}\n>a\n{ss}\n",
                "x.csv": f"id,seq,ss8\na,{sequence},{ss}\n",
                "x.jsonl": json.dumps({"id": "a", "seq": sequence, "ss8": ss}) + "\n",
            }[name]
        )
    (refused,) = read(path, alphabet="ss8")
    assert isinstance(refused, BadRecord)
    assert (refused.reason, refused.labels) == ("ambiguous-coil", "-")
    (taken,) = read(path, alphabet="ss8", labels={"-": "L"})
    assert not isinstance(taken, BadRecord)
    assert (taken.sequence, taken.ss) == ("MKT", "LLH")


@pytest.mark.parametrize(
    "text", [">a\nMKT\nLH \n", ">a\nMKT\n>a\nLH \n", "id,seq,ss8\na,MKT,LH \n", 'id,seq,ss8\na,MKT,"LH "\n']
)
def test_a_blank_at_the_end_is_a_blank_label(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.data"
    path.write_text(text)
    (record,) = read(path, alphabet="ss8")
    assert isinstance(record, BadRecord)
    assert (record.reason, record.detail[:27]) == ("ambiguous-coil", "blank label at position 3: ")
    assert record.labels == " "
