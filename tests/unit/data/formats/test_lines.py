"""Text of unknown origin gives numbered lines, and damage is reported after the lines before it."""

import gzip
from pathlib import Path

import pytest

from liftray.data.formats import lines
from liftray.data.formats.lines import BrokenStreamError, read_lines
from liftray.errors import DataError


def _texts(path: Path) -> list[str]:
    return [line.text for line in read_lines(path)]


@pytest.mark.parametrize(
    "content",
    [
        b"a\nb\n\nc\n",
        b"a\nb\n\nc",
        b"a\r\nb\r\n\r\nc\r\n",
        b"a\rb\r\rc\r",
        b"\xef\xbb\xbfa\nb\n\nc\n",
        b"\xef\xbb\xbfa\r\nb\r\n\r\nc",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_endings_mark_and_gzip_are_not_content(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = tmp_path / "x.txt"  # gzip is recognised by the bytes, not by the name
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [(line.number, line.text) for line in read_lines(path)] == [(1, "a"), (2, "b"), (3, ""), (4, "c")]


def test_bytes_that_are_not_utf8_survive(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b">prot\xe9in\nACD\n")
    assert _texts(path) == [">prot\udce9in", "ACD"]


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf16_is_refused(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(mark + ">a".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"x\.txt: text in UTF-16 or UTF-32; .*UTF-8"):
        list(read_lines(path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_lines(tmp_path / "none.txt"))


def test_truncated_gzip_gives_the_lines_before(tmp_path: Path) -> None:
    content = b"".join(b"line %06d\n" % number for number in range(20_000))
    packed = gzip.compress(content)
    path = tmp_path / "x.txt.gz"
    path.write_bytes(packed[: len(packed) // 2])
    seen: list[str] = []
    with pytest.raises(BrokenStreamError) as caught:
        _collect(path, seen)
    assert caught.value.reason == "truncated-gzip"
    assert 0 < len(seen) < 20_000
    assert caught.value.number == len(seen)
    assert seen == [f"line {number:06d}" for number in range(len(seen))]


def test_damaged_gzip(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"line\n" * 1000))
    packed[-6] ^= 0xFF  # the checksum
    path = tmp_path / "x.txt.gz"
    path.write_bytes(bytes(packed))
    with pytest.raises(BrokenStreamError) as caught:
        list(read_lines(path))
    assert caught.value.reason == "damaged-gzip"


def test_overlong_line_is_cut_and_the_next_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 10)
    path = tmp_path / "x.txt"
    path.write_text("A" * 35 + "\nshort\n" + "B" * 10 + "\nC\n")
    seen = list(read_lines(path))
    assert [line.number for line in seen] == [1, 2, 3, 4]
    assert [line.cut for line in seen] == [True, False, True, False]
    assert [line.text for line in seen] == ["A" * 10, "short", "B" * 10, "C"]


def _collect(path: Path, into: list[str]) -> None:
    for line in read_lines(path):
        into.append(line.text)
