"""What is opened, what is refused at once, and what a compressed file may grow to."""

import bz2
import gzip
import io
import lzma
import os
import socket
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from liftray import limits
from liftray.errors import BundleError, DataError
from liftray.input_files import DamagedStreamError, check_regular, first_bytes, open_input, read_input

TEXT = b"".join(b">chain%d\nACDEFGHIKL\n" % number for number in range(500))


def zipped(content: bytes, *names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else content)
    return file.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip of two members": lambda content: gzip.compress(content[:99]) + gzip.compress(content[99:]),
    "bzip2": bz2.compress,
    "bzip2 of two streams": lambda content: bz2.compress(content[:99]) + bz2.compress(content[99:]),
    "xz": lzma.compress,
    "xz of two streams": lambda content: lzma.compress(content[:99]) + bytes(4) + lzma.compress(content[99:]),
    "xz -9": lambda content: lzma.compress(content, preset=9),
    "zstd": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    "zip": lambda content: zipped(content, "a.txt"),
    "zip with bzip2": lambda content: zipped(content, "a.txt", method=zipfile.ZIP_BZIP2),
    "zip of a folder, by macOS": lambda content: zipped(content, "d/", "d/a.txt", "__MACOSX/d/._a.txt"),
    "not at all": bytes,
}


@pytest.mark.parametrize("how", COMPRESS)
def test_the_first_bytes_decide_how_a_file_is_read(tmp_path: Path, how: str) -> None:
    (tmp_path / "any.name").write_bytes(COMPRESS[how](TEXT))
    assert read_input(tmp_path / "any.name", max_bytes=1 << 20) == TEXT


@pytest.mark.parametrize("how", [how for how in COMPRESS if how != "not at all"])
def test_a_stream_that_ends_early_never_passes_as_whole(tmp_path: Path, how: str) -> None:
    whole = COMPRESS[how](TEXT)
    for length in range(8, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "x").write_bytes(whole[:length])
        if how.startswith(("gzip of two", "bzip2 of two", "xz of two")):
            continue  # after its first stream it is whole
        with pytest.raises(DataError, match=r"ends early|damaged|directory"):
            read_input(tmp_path / "x", max_bytes=1 << 20)


def test_what_came_before_the_damage_is_given(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(os.urandom(300_000))[:200_000])
    got: list[int] = []
    with open_input(path) as stream, pytest.raises(DamagedStreamError) as caught:
        got.extend(len(piece) for piece in iter(lambda: stream.read(1 << 10), b""))
    assert caught.value.truncated
    assert sum(got) > 100_000


@pytest.mark.parametrize("how", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_a_bomb_is_refused_within_the_memory_of_a_reader(tmp_path: Path, how: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(COMPRESS[how](bytes(limits.INFLATION_FREE_BYTES + (1 << 20))))
    tracemalloc.start()
    try:
        with open_input(path) as stream, pytest.raises(DataError, match=r"inflates to over 50,331,648 bytes"):
            sum(len(piece) for piece in iter(lambda: stream.read(1 << 16), b""))
        assert tracemalloc.get_traced_memory()[1] < limits.READER_MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_a_file_over_its_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1001))
    with pytest.raises(BundleError, match="over 1,000 bytes"):
        read_input(tmp_path / "x", max_bytes=1000, error=BundleError)
    with pytest.raises(BundleError, match="over 1,000 bytes"):
        read_input(tmp_path / "x", max_bytes=1000, error=BundleError, inflated=False)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped(TEXT, "a", "b"), "a zip file with 2 files"),
        (zipped(TEXT), "a zip file with 0 files"),
        (zipped(b"", *map(str, range(2000))), "whose directory is over"),
        (zipped(TEXT, "a", method=zipfile.ZIP_LZMA), "compressed in a rare way"),
        (b"\x1f\x9d\x90abc", r"compress \(\.Z\)"),
        (b"7z\xbc\xaf\x27\x1c....", "7z archive"),
        (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "tar archive"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=what):
        read_input(tmp_path / "x", max_bytes=1 << 20)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    cases = {
        "fifo": "a pipe",
        "link": "a pipe",
        "socket": "a socket",
        ".": "a directory",
        "/dev/zero": "a device",
        "absent": "no such file",
        "absent/below": "no such file",
        "a\0b": "null byte",
        "n" * 300: "name too long",
    }
    for name, what in cases.items():
        for opens in (first_bytes, check_regular, lambda path: read_input(path, max_bytes=10)):
            with pytest.raises(DataError, match=f"(?i){what}"):
                opens(tmp_path / name)


def test_a_link_to_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert check_regular(tmp_path / "link") == 3
    assert first_bytes(tmp_path / "link", 2) == b"ab"
