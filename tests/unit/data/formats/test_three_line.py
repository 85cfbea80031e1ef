"""Three-line files: what is a record, what is not content, and that only one record is held."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.data.formats import blocks, lines, read, three_line
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError


def _write(folder: Path, text: str | bytes, name: str = "x.ss9.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _read(path: Path) -> list[ProteinRecord | BadRecord]:
    return list(read(path, format="three-line", alphabet="ss9"))


def _reasons(path: Path) -> list[str]:
    return [record.reason if isinstance(record, BadRecord) else "" for record in _read(path)]


def test_records_carry_id_source_and_line(tmp_path: Path) -> None:
    path = _write(tmp_path, "\n>1abc-A a kinase\nACD\nLHX\n\n>b\nAU\nEE")
    assert _read(path) == [
        ProteinRecord("1abc-A", "ACD", "LHX", "x.ss9.txt", 2),
        ProteinRecord("b", "AU", "EE", "x.ss9.txt", 6),
    ]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (">a\nACD\nLLL\n>b\nACD\n", ["", "truncated-record"]),
        (">a\nACD\nLLL\n>b", ["", "truncated-record"]),
        (">a\nACD\nLLL\n>b\nACD\nLL", ["", "length-mismatch"]),
        (">a\n\nLLL\n>b\nA\nL\n", ["truncated-record", ""]),
        (">a\nACD\nEEE\nLLL\n", ["extra-lines"]),
        (">\nACD\nLLL\n", ["missing-id"]),
        ("ACD\nLLL\n>a\nA\nL\n", ["no-header", ""]),
        ("# a note\n\n>a\nA\nL\n", ["no-header", ""]),
        ("just text\n", ["no-header"]),
        (">a\nACD \t\nLLL  \n", [""]),  # blanks at a line's end are not content
        (">a\nACD\n  L\n", ["ambiguous-coil"]),  # blanks before it are
    ],
)
def test_decisions(tmp_path: Path, text: str, reasons: list[str]) -> None:
    assert _reasons(_write(tmp_path, text)) == reasons


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_and_mark(tmp_path: Path, ending: str) -> None:
    text = "\ufeff" + ending.join([">a", "ACD", "LLL", "", ">b", "AC", "EE"])
    assert _reasons(_write(tmp_path, text)) == ["", ""]


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.ss9\.txt: no records: the file is empty"):
        _read(_write(tmp_path, content))


def test_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    text = "".join(f">chain{number}\nACDEF\nLLHHX\n" for number in range(5000))
    packed = gzip.compress(text.encode())
    path = _write(tmp_path, packed[: len(packed) * 2 // 3], "x.ss9.txt.gz")
    records = _read(path)
    *good, last = records
    assert isinstance(last, BadRecord)
    assert last.reason == "truncated-gzip"
    assert 0 < len(good) < 5000
    assert [record.id for record in good] == [f"chain{number}" for number in range(len(good))]
    # The record that was not complete is the bad one, with name and line, and it is reported once.
    assert (last.id, last.line) == (f"chain{len(good)}", 3 * len(good) + 1)


def test_not_utf8(tmp_path: Path) -> None:
    text = b">prot\xe9\nACD\nLLL\n>b\nA\xe9D\nLLL\n>\xc3\xa9\nACD\nLLL\n"
    assert _reasons(_write(tmp_path, text)) == ["bad-encoding", "non-ascii", ""]


def test_overlong_records_are_refused_and_the_next_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 50)
    monkeypatch.setattr(blocks, "_MAX_BODY", 60)
    long, many = "A" * 51, "A\n" * 100
    path = _write(tmp_path, f">a\n{long}\nLLL\n>b\n{many}>c\nA\nL\n")
    assert _reasons(path) == ["too-long", "too-long", ""]


def test_reads_no_further_than_the_next_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = 0

    def counted(path: Path) -> Iterator[lines.Line]:
        nonlocal pulled
        for line in lines.read_lines(path):
            pulled += 1
            yield line

    monkeypatch.setattr(blocks, "read_lines", counted)
    path = _write(tmp_path, "".join(f">c{number}\nACD\nLLL\n" for number in range(1000)))
    for number, _ in enumerate(three_line.read(path, alphabet="ss9"), 1):
        assert pulled <= 3 * number + 1
    assert pulled == 3000


PIECES = st.sampled_from([">a", ">b x", ">", "ACD", "LLL", "", " ", "acd", "A-D", "HHHH", "C", "\u00e9"])


@given(st.lists(PIECES, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_every_header_ends_as_one_record(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], ending: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "x.txt"
    path.write_bytes(ending.join(pieces).encode())
    if not any(piece.strip() for piece in pieces):
        with pytest.raises(DataError):
            _read(path)
        return
    headers = [at for at, piece in enumerate(pieces) if piece.startswith(">")]
    before = pieces[: headers[0]] if headers else pieces
    stray = [at for at, piece in enumerate(before) if piece.strip()][:1]
    records = _read(path)
    assert [record.line for record in records] == [at + 1 for at in (*stray, *headers)]
