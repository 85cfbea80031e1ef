"""CSV, TSV and Parquet, a chain or a residue a row: columns, coil spellings, and rows that do not fit."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from liftray.data.formats import FORMATS, detect, read
from liftray.data.formats.parts import PartGuard
from liftray.data.records import ALPHABET_KEY, BadRecord
from liftray.errors import DataError

NSP = "id, seq, n, rsa, asa, q3, p[q3_H], q8, p[q8_G], phi"


def _file(folder: Path, text: str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _summary(path: Path, alphabet: str, format: str = "auto") -> list[tuple[str, str]]:
    return [
        (record.id, record.reason if isinstance(record, BadRecord) else f"{record.sequence}:{record.ss}")
        for record in read(path, format=format, alphabet=alphabet)
    ]


def _residues(*rows: str) -> str:
    """NetSurfP's own output from `id residue n q3 q8` each."""
    lines = [NSP]
    for row in rows:
        record_id, residue, number, q3, q8 = row.split(" ")
        lines.append(f"{record_id}, {residue}, {number}, 0.1, 9.9, {q3}, 0.5, {q8}, 0.1, -60.0")
    return "\n".join(lines) + "\n"


def test_netsurfp_output(tmp_path: Path) -> None:
    path = _file(tmp_path, _residues(">a M 1 C C", ">a K 2 H G", ">b A 1 E B", ">b A 1 C S", "b C 2 C T"))
    assert detect(path) == "netsurfp-csv"
    assert FORMATS["netsurfp-csv"].declared_alphabet(path) == "ss8"
    # `n` falling back to 1 starts another chain, even under the same id; C in q8 is coil.
    assert _summary(path, "ss8") == [("a", "MK:LG"), ("b", "A:B"), ("b", "AC:ST")]
    assert _summary(path, "ss3") == [("a", "MK:CH"), ("b", "A:E"), ("b", "AC:CC")]
    assert _summary(path, "ss9") == _summary(path, "ss8")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["a M 1 C C", "a K 3 C C"], "row-order"),
        (["a M 2 C C"], "row-order"),
        (["a M 1 C C", "a K ? C C"], "row-order"),
        (["a MK 1 C C"], "malformed-row"),
        (["a M 1 C CC"], "malformed-row"),
        (["a M 1 C -"], "ambiguous-coil"),
        (["a m 1 C C"], "lower-case"),
    ],
)
def test_one_bad_residue_makes_the_chain_bad(tmp_path: Path, rows: list[str], reason: str) -> None:
    path = _file(tmp_path, _residues(*rows, "z A 1 C C"))
    assert _summary(path, "ss8") == [("a", reason), ("z", "A:L")]


def test_short_residue_row(tmp_path: Path) -> None:
    text = _residues("a M 1 C C") + "a, K, 2\n" + "a, L, 3, 0.1, 9.9, C, 0.5, C, 0.1, -60.0\n"
    records = list(read(_file(tmp_path, text), alphabet="ss8"))
    assert [(r.id, r.reason, r.line) for r in records if isinstance(r, BadRecord)] == [
        ("a", "malformed-row", 2)
    ]
    assert len(records) == 1


def test_netsurfp_data_set(tmp_path: Path) -> None:
    text = (
        "input,dssp3,dssp8,disorder,cb513_mask\n"
        'ACD,CCH,CSH,"[0.0, 1.0, 1.0]","[1.0, 1.0, 1.0]"\n'
        'ACD,CCH,CSH,"[0. 1.\n 1.]",nan\n'
        'ACD,CCH,CSH,"[1.0, 1.0]",\n'
    )
    path = _file(tmp_path, text, "CB513.csv")
    assert detect(path) == "netsurfp-csv"
    assert FORMATS["netsurfp-csv"].declared_alphabet(path) == "ss8"
    # No coordinates (0) means no label; a list of another length does not fit the chain.
    assert _summary(path, "ss8") == [
        ("CB513-1", "ACD:XSH"),
        ("CB513-2", "ACD:XSH"),
        ("CB513-3", "mask-mismatch"),
    ]
    assert _summary(path, "ss3")[0] == ("CB513-1", "ACD:XCH")


def test_flip_table(tmp_path: Path) -> None:
    header = "sequence,target,set,validation\n"
    path = _file(tmp_path, header + "ACD,CCH,train,False\nAC,EE,train,True\n", "sampled.csv")
    assert detect(path) == "netsurfp-csv"
    assert FORMATS["netsurfp-csv"].declared_alphabet(path) is None
    with pytest.raises(DataError, match=r"sets 'train' and 'validation' are mixed.*--set train"):
        _summary(path, "ss3")
    for part, expected in (("train", "sampled-1"), ("validation", "sampled-2"), ("val", "sampled-2")):
        taken = list(read(path, alphabet="ss3", parts=PartGuard(part)))
        assert [record.id for record in taken] == [expected]
    assert len(list(read(path, alphabet="ss3", parts=PartGuard("all")))) == 2


def test_rows_to_train_and_to_test_on_do_not_mix(tmp_path: Path) -> None:
    text = "sequence,target,set,validation\nACD,CCH,train,False\nAC,EE,test,\n"
    with pytest.raises(DataError, match=r"sets 'train' and 'test' are mixed.*--set train"):
        _summary(_file(tmp_path, text), "ss3")
    table = pa.table({"sequence": ["A", "C"], "ss": ["H", "E"], "Split": ["train", "test"]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="sets 'train' and 'test' are mixed"):
        _summary(tmp_path / "x.parquet", "ss3")


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize(
    "header",
    [("id", "sequence", "ss"), ("Chain ID", "SEQ", "SS9"), ("name", "primary", "Secondary-Structure")],
)
def test_separators_and_names(tmp_path: Path, separator: str, header: tuple[str, ...]) -> None:
    rows = [header, ("a", "ACD", "LPX"), (" b ", "AC", "EE")]
    path = _file(tmp_path, "\r\n".join(separator.join(row) for row in rows), "x.tsv")
    assert detect(path) == "table"
    assert _summary(path, "ss9") == [("a", "ACD:LPX"), ("b", "AC:EE")]


def test_label_column_of_the_alphabet(tmp_path: Path) -> None:
    path = _file(tmp_path, "pdb_id,chain_code,seq,sst8,sst3,len\n1ABC,A,ACD,CSH,CCH,3\n,B,A,C,C,1\n")
    assert FORMATS["table"].declared_alphabet(path) == "ss8"
    assert _summary(path, "ss8") == [("1ABC_A", "ACD:LSH"), ("", "missing-id")]
    assert _summary(path, "ss3") == [("1ABC_A", "ACD:CCH"), ("", "missing-id")]
    assert _summary(path, "ss9") == _summary(path, "ss8")


def test_c_is_coil_only_where_the_column_says_so(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,seq,ss8\na,ACD,CSH\nb,AC,LS\n")
    assert _summary(path, "ss8") == [("a", "ambiguous-coil"), ("b", "AC:LS")]


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    text = 'id,seq,ss\na,ACD\n\nb,A,L\nc,ACD,LLL,x\n"d,A,L\ne,A,L\n'
    records = list(read(_file(tmp_path, text), alphabet="ss8"))
    found = [(r.line, r.reason if isinstance(r, BadRecord) else r.id) for r in records]
    assert found == [(2, "malformed-row"), (4, "b"), (5, "malformed-row"), (6, "malformed-row")]
    assert isinstance(records[-1], BadRecord)
    assert "lines 6 to 7" in records[-1].detail


def test_quote_that_is_never_closed_is_bounded(tmp_path: Path) -> None:
    text = 'id,seq,ss\na,"ACD\n' + "b,A,L\n" * 50_000
    records = list(read(_file(tmp_path, text), alphabet="ss8"))
    assert isinstance(records[0], BadRecord)
    assert records[0].reason == "malformed-row"
    assert sum(not isinstance(record, BadRecord) for record in records) > 20_000


def test_truncated_gzip_table(tmp_path: Path) -> None:
    packed = gzip.compress(("id,seq,ss\n" + "".join(f"c{n},ACD,LLL\n" for n in range(5000))).encode())
    path = tmp_path / "x.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    records = list(read(path, alphabet="ss8"))
    assert isinstance(records[-1], BadRecord)
    assert records[-1].reason == "truncated-gzip"
    assert [record.id for record in records[:-1]] == [f"c{n}" for n in range(len(records) - 1)]
    assert len(records) > 100


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,seq,ss\n", "empty"),
        ("id,seq,seq,ss\na,A,A,L\n", "'seq' twice"),
        ("id,letters,ss\na,A,L\n", "sequence column"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _summary(_file(tmp_path, text), "ss8", "table")


def test_parquet_from_outside(tmp_path: Path) -> None:
    table = pa.table(
        {
            "Name": pa.array(["a", None, "c", "d"]).dictionary_encode(),
            "seq": pa.array(["ACD", "A", None, "AC"], pa.large_string()),
            "dssp8": ["CSH", "C", "C", "H-"],
            "other": [1.0, 2.0, 3.0, 4.0],
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    assert detect(path) == "parquet"
    assert FORMATS["parquet"].declared_alphabet(path) == "ss8"
    assert _summary(path, "ss8") == [
        ("a", "ACD:LSH"),
        ("", "missing-id"),
        ("c", "empty"),
        ("d", "ambiguous-coil"),
    ]


def test_parquet_metadata_names_the_alphabet(tmp_path: Path) -> None:
    table = pa.table({"sequence": ["AC"], "ss": ["LL"]}).replace_schema_metadata({ALPHABET_KEY: b"ss9"})
    pq.write_table(table, tmp_path / "x.parquet")
    assert FORMATS["parquet"].declared_alphabet(tmp_path / "x.parquet") == "ss9"
    assert _summary(tmp_path / "x.parquet", "ss9") == [("x-1", "AC:LL")]


def test_invalid_text_in_parquet_is_refused(tmp_path: Path) -> None:
    offsets = pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00")
    bad = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"A\xff")])
    pq.write_table(pa.table({"id": ["a"], "sequence": bad, "ss": ["LL"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="not readable as Parquet"):
        _summary(tmp_path / "x.parquet", "ss9")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_damaged_parquet_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a"], "sequence": ["AC"], "ss": ["LL"]}), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match="not readable as Parquet"):
        _summary(path, "ss9")


def test_column_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a"], "sequence": ["AC"], "ss": [{"x": "L"}]}), path)
    with pytest.raises(DataError, match=r"'ss' is of type struct.*string"):
        _summary(path, "ss9")


def test_arrow_ipc_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.feather"
    pyarrow.feather.write_feather(pa.table({"id": ["a"]}), path, compression="uncompressed")
    with pytest.raises(DataError, match=r"Feather.*Parquet"):
        detect(path)


def test_columns_that_differ_in_case_are_refused(tmp_path: Path) -> None:
    rows = {"id": ["a"], "sequence": ["AC"], "Sequence": ["GG"], "ss": ["LL"]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    csv = _file(tmp_path, "id,sequence,Sequence,ss\na,AC,GG,LL\n")
    for path in (tmp_path / "x.parquet", csv):
        with pytest.raises(DataError, match=r"column 'sequence' twice"):
            _summary(path, "ss8", "parquet" if path.suffix == ".parquet" else "table")


@pytest.mark.parametrize(
    "rows",
    [
        ["a M 1 C C", "a K 2 H G", "b A 1 E B", "a T 3 C C"],
        ["a T 2 C C", "b A 1 E B", "a M 1 C C"],
        ["a M 1 C C", "b A 1 E B", "a K ? C C", "c G 1 C C", "a T 3 C C"],
    ],
)
def test_rows_of_one_chain_in_two_places_refuse_it_whole(tmp_path: Path, rows: list[str]) -> None:
    found = _summary(_file(tmp_path, _residues(*rows)), "ss8")
    assert [name for name, _ in found].count("a") == 1
    assert dict(found)["a"] == "rows-apart"
    assert dict(found)["b"] == "A:B"


def test_public_netsurfp_files(tmp_path: Path) -> None:
    """The header and the cells as CB513.csv and TS115.csv have them: blanks everywhere, two masks."""
    path = _file(
        tmp_path,
        "input, dssp3, dssp8, disorder, cb513_mask\n"
        "M K T A,C C H H,C S H H,0.0 1.0 1.0 1.0,1.0 1.0 1.0 0.0\n"
        "M K,C H,C P,1.0 1.0,1.0 1.0\n",
        "CB513.csv",
    )
    assert detect(path) == "netsurfp-csv"
    assert _summary(path, "ss8") == [("CB513-1", "MKTA:XSHX"), ("CB513-2", "unknown-label")]
    assert _summary(path, "ss9") == [("CB513-1", "MKTA:XSHX"), ("CB513-2", "MK:LP")]
    assert _summary(path, "ss3") == [("CB513-1", "MKTA:XCHX"), ("CB513-2", "MK:CH")]


def test_lists_in_parquet(tmp_path: Path) -> None:
    rows = {"id": ["a"], "input": [["M", "K"]], "dssp8": [["C", "H"]], "disorder": [[1.0, 0.0]]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    assert _summary(tmp_path / "x.parquet", "ss8") == [("a", "MK:LX")]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_too_many_columns_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    columns = ["id", "sequence", "ss3", *(f"c{number}" for number in range(60_000))]
    object_line = "{" + ",".join(f'"{column}": "A"' for column in columns) + "}\n"
    path.write_text(",".join(columns) + "\n" if name == "x.csv" else object_line)
    with pytest.raises(DataError, match=r"4,096 is the most|first line"):
        list(read(path, format="table" if name == "x.csv" else "jsonl", alphabet="ss3"))


def test_a_file_that_begins_with_a_megabyte_of_blank_lines_is_not_searched_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n" * (1 << 21))
    with pytest.raises(DataError, match="no records"):
        detect(tmp_path / "x.csv")
