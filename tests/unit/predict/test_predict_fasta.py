import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.data.validate import MAX_RESIDUES
from liftray.errors import DataError
from liftray.predict.fasta import BadChain, Chain, Flaw, read, tidy


def chains(path: Path, content: bytes) -> list[Chain | BadChain]:
    path.write_bytes(content)
    return list(read(path))


def shown(items: list[Chain | BadChain]) -> list[tuple[str, str]]:
    return [(item.id, item.sequence if isinstance(item, Chain) else item.reason) for item in items]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "input.fasta"


PLAIN = [("sp|P1|A_B", "MKTAYI"), ("b", "ACD")]


@pytest.mark.parametrize(
    "content",
    [
        b">sp|P1|A_B some protein\nMKT\nAYI\n>b\nACD\n",
        b">sp|P1|A_B some protein\r\nMKT\r\n\r\nAYI\r\n>b\r\nACD",
        b">sp|P1|A_B\rMKTAYI\r>b\rACD\r",
        b"\xef\xbb\xbf>sp|P1|A_B\nMKTAYI\n\xef\xbb\xbf>b\nACD\n",
        b"\n\n> sp|P1|A_B\n MK TA\tYI \n  >b\nACD\n\n",
        b"; a comment\n>sp|P1|A_B\n;another\nmktayi\n>b\nacD*\n",
        gzip.compress(b">sp|P1|A_B\nMKTAYI\n", mtime=0) + gzip.compress(b">b\nACD\n", mtime=0),
    ],
)
def test_every_make_of_fasta_reads_the_same(file: Path, content: bytes) -> None:
    assert shown(chains(file, content)) == PLAIN


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ("MK-T", "gap"),
        ("MK.T", "gap"),
        ("MK*T", "stop-codon"),
        ("MKT**", "stop-codon"),
        ("1 MKT 10", "unknown-residue"),
        ("MK?T", "unknown-residue"),
        ("MKß", "non-ascii"),
        ("MK\u200bT", "non-ascii"),
        ("", "empty"),
        ("*", "empty"),
        ("A" * (MAX_RESIDUES + 1), "too-long"),
    ],
)
def test_a_bad_record_is_reported_and_does_not_end_the_file(file: Path, sequence: str, reason: str) -> None:
    items = chains(file, f">first\nMKT\n>bad one\n{sequence}\n>last\nACD\n".encode())

    assert shown(items) == [("first", "MKT"), ("bad", reason), ("last", "ACD")]
    assert items[1] == BadChain("bad", reason, items[1].detail, str(file), 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            ">P1;CRAB\nALPHA CRYSTALLIN B\nMKT AYI\nACD*\n>P1;B\n\nMKT*\nC;note\n",
            [("CRAB", "MKTAYIACD"), ("B", "MKT")],
        ),
        (">P1;A\nMKTAYIAKQRQISFVKSHFSRQ\nLEERLGLIEVQAPIL*\n", [("A", "bad-pir")]),
        (">P1;A\nMKTAYIAKQRQISF\n>b\nMKT\n", [("A", "bad-pir"), ("b", "MKT")]),
        (">P1;A\nA title\nMKTAYI\n", [("A", "bad-pir")]),
        (">P1;A\nA title\nMK/T*\n", [("A", "unknown-residue")]),
        (">DL;A\nA gene\nACGT*\n", [("A", "nucleotides")]),
        (">P1;A\n>P1;B\n;\nMKT*\n", [("A", "bad-pir"), ("B", "MKT")]),
        (">P12345;x\nMKT\n>sp|P1;2|\nACD\n", [("P12345;x", "MKT"), ("sp|P1;2|", "ACD")]),
    ],
)
def test_pir(file: Path, content: str, expected: list[tuple[str, str]]) -> None:
    assert shown(chains(file, content.encode())) == expected


def test_pir_title_is_the_description(file: Path) -> None:
    (chain,) = chains(file, b">P1;CRAB\nalpha  crystallin\nMKT*\n")
    assert isinstance(chain, Chain)
    assert (chain.id, chain.description) == ("CRAB", "alpha crystallin")


def test_every_letter_is_taken() -> None:
    assert tidy("abcdefghijklmnopqrstuvwxyz") == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_flaw_names_the_residue_by_position() -> None:
    assert tidy(" MK T1") == Flaw("unknown-residue", "'1' at position 4 is not a letter")


def test_longest_chain_is_taken_wrapped_or_not(file: Path) -> None:
    whole = "A" * MAX_RESIDUES
    wrapped = "\n".join(["A" * 60] * (MAX_RESIDUES // 60 + 1))[: MAX_RESIDUES + MAX_RESIDUES // 60]
    items = chains(file, f">one\n{whole}*\n>two\n{wrapped}\n>three\n{whole}\nA\n".encode())

    assert shown(items) == [("one", whole), ("two", whole), ("three", "too-long")]


def test_endless_line_is_one_bad_record(file: Path) -> None:
    items = chains(file, b">long\n" + b"A" * (5 << 20) + b"\n>next\nMKT\n")

    assert shown(items) == [("long", "too-long"), ("next", "MKT")]


def test_ids_repeat_and_are_made_up(file: Path) -> None:
    items = chains(file, b">a\nMKT\n>\nACD\n>a\nGGG\n>  \nVVV\n")

    assert shown(items) == [("a", "MKT"), ("unnamed_2", "ACD"), ("a", "GGG"), ("unnamed_4", "VVV")]


def test_id_is_printable_whatever_the_bytes(file: Path) -> None:
    items = chains(file, b">\xff\xfe\x1b[31mred\x00 x\nMKT\n>\xc3\xa9t\xc3\xa9\nMKT\n")

    assert [item.id for item in items] == ["\ufffd\ufffd\ufffd[31mred\ufffd", "été"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sequences: the file is empty"),
        (b"\n \n;only a comment\n", "no sequences: the file is empty"),
        (b"MKTAYI\n>a\nMKT\n", "text before the first '>'"),
        (b"PK\x03\x04zip", "a zip file without its directory"),
        (b"\xff\xfe>\x00a\x00", "UTF-16"),
        (gzip.compress(b">a\nMKT\n", mtime=0)[:11], "gzip"),
    ],
)
def test_what_is_not_fasta_is_refused_with_a_remedy(file: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        chains(file, content)
    assert caught.value.remedy
    assert str(file) in str(caught.value)


def test_missing_file_and_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        next(read(tmp_path / "absent.fasta"))
    with pytest.raises(DataError, match="a directory"):
        next(read(tmp_path))


def test_broken_gzip_loses_only_the_record_it_broke_in(file: Path) -> None:
    body = b"".join(b">r%d\n%s\n" % (number, b"MKTAYIW" * (number % 7 + 1)) for number in range(4000))
    items = chains(file, gzip.compress(body)[:-200])

    assert isinstance(items[-1], BadChain)
    assert items[-1].reason == "truncated-gzip"
    assert all(isinstance(item, Chain) for item in items[:-1])
    assert [item.id for item in items] == [f"r{number}" for number in range(len(items))]


LINES = st.sampled_from([b">", b">a", b" >b c", b"MKT", b"mk t*", b"A-C", b"", b" ", b"\xff", b";x", b"1"])


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(LINES, max_size=20).map(b"\n".join),
        st.lists(LINES, max_size=20).map(lambda lines: b">x\r\n" + b"\r\n".join(lines)),
    )
)
def test_any_bytes_give_one_item_a_header_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.fasta"
    path.write_bytes(content)
    text = content.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    stripped = [line.strip().lstrip("\ufeff").lstrip() for line in text.split("\n")]
    headers = sum(line.startswith(">") for line in stripped)
    try:
        items = list(read(path))
    except DataError:
        first = next((line for line in stripped if line and not line.startswith(";")), "")
        assert not first.startswith(">") or content[:2] in (b"\xff\xfe", b"\xfe\xff")
    else:
        assert len(items) == headers
        assert all(
            item.sequence.isupper() and item.sequence.isascii() for item in items if isinstance(item, Chain)
        )


def test_agrees_with_biopython(file: Path) -> None:
    parser = pytest.importorskip("Bio.SeqIO.FastaIO", reason="biopython is not installed")
    file.write_text(">a first\nMKT\nAYI\n\n>b|2 second\nACDEFG\n>c\nGG GG\n")
    with file.open() as handle:
        expected = [
            (title.split()[0], sequence.replace(" ", ""))
            for title, sequence in parser.SimpleFastaParser(handle)
        ]

    assert shown(list(read(file))) == expected


@pytest.mark.parametrize("header", ["a" * 256, "a " + "b" * 70_000])
def test_a_header_over_its_limit_is_refused_with_the_limit(file: Path, header: str) -> None:
    first, second = chains(file, f">{header}\nMKT\n>b\nMKT\n".encode())
    assert first.reason == "bad-id"
    assert "255 and 65,536 are the most" in first.detail
    assert len(first.id) <= 80
    assert second.id == "b"
