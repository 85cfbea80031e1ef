"""The decompressors of input files, recognised by the first bytes, none of which takes memory without bound.

Invariant: what is opened here gives the content and nothing else, or an error; a stream's own header decides neither
memory nor the number of files. Flow: `input_files` -> [this].
"""

import bz2
import gzip
import lzma
import os
import re
import struct
import zipfile
from collections.abc import Callable
from typing import BinaryIO, cast

from liftray import limits
from liftray.errors import InputError

_PIECE = 1 << 16
_MAGIC: tuple[tuple[str, "re.Pattern[bytes]"], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b\x08")),
    ("bzip2", re.compile(rb"BZh[1-9](1AY&|\x17rE8)")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("zip", re.compile(rb"PK(\x03\x04|\x05\x06)")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
)
_NOT_READ = (
    (b"\x1f\x9d", "compressed with compress (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
)
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def compression_of(head: bytes, where: str, error: type[InputError]) -> str | None:
    """The key of `INFLATE` for a file's first 8 bytes; None where it is not compressed.

    Raises:
        InputError: Of class `error`: it is compressed or packed in a way that is not read.
    """
    for magic, what in _NOT_READ:
        if head.startswith(magic):
            remedy = "unpack it, or compress it with gzip, bzip2, xz, zstd or zip"
            raise error(what, where=where, remedy=remedy)
    return next((name for name, magic in _MAGIC if magic.match(head)), None)


def _gzip(raw: BinaryIO, where: str, error: type[InputError]) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw))


def _bzip2(raw: BinaryIO, where: str, error: type[InputError]) -> BinaryIO:
    return cast(BinaryIO, bz2.BZ2File(raw))


def _xz(raw: BinaryIO, where: str, error: type[InputError]) -> BinaryIO:
    return cast(BinaryIO, _XzStream(raw))


class _XzStream:
    """The content of an xz file. The library's own class sets no bound on memory, which a header may ask for."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._decoder = self._start()

    def __enter__(self) -> "_XzStream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read1(self, size: int) -> bytes:
        while True:
            rest = b""
            if self._decoder.eof:  # further streams may follow, each after padding
                rest = self._decoder.unused_data.lstrip(b"\0")
                while not rest:
                    piece = self._raw.read(_PIECE)
                    if not piece:
                        return b""
                    rest = piece.lstrip(b"\0")
                self._decoder = self._start()
            elif self._decoder.needs_input:
                rest = self._raw.read(_PIECE)
                if not rest:
                    raise EOFError
            found = self._decoder.decompress(rest, size)
            if found:
                return found

    @staticmethod
    def _start() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.XZ_MEMORY_BYTES)


def _zstd(raw: BinaryIO, where: str, error: type[InputError]) -> BinaryIO:
    import pyarrow as pa

    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))


def _zip(raw: BinaryIO, where: str, error: type[InputError]) -> BinaryIO:
    """The one member of a zip file; folders and what macOS adds are not counted."""
    _check_zip_listing(raw, where, error)
    try:
        archive = zipfile.ZipFile(raw)
        members = [
            one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise error(
                f"a zip file with {len(members)} files",
                where=where,
                remedy="unpack it and name the file itself",
            )
        if members[0].flag_bits & 0x1 or members[0].compress_type not in _ZIP_METHODS:
            what = "a zip file that is encrypted, or compressed in a rare way"
            raise error(what, where=where, remedy="unpack it and name the file itself")
        return cast(BinaryIO, archive.open(members[0]))
    except InputError:
        raise
    except (zipfile.BadZipFile, EOFError, LookupError, ValueError, RuntimeError, OSError) as fault:
        raise error(
            f"a damaged zip file ({fault})", where=where, remedy="copy or download it again"
        ) from fault


def _check_zip_listing(raw: BinaryIO, where: str, error: type[InputError]) -> None:
    """Refuse a long directory before it is read: each entry takes a kilobyte of memory."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, size - limits.ZIP_LISTING_BYTES - 22))
    tail = raw.read()
    raw.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise error("a zip file without its directory", where=where, remedy="copy or download it again")
    (listing,) = struct.unpack_from("<L", tail, at + 12)
    if listing > limits.ZIP_LISTING_BYTES:
        raise error(
            f"a zip file whose directory is over {limits.ZIP_LISTING_BYTES:,} bytes",
            where=where,
            remedy="unpack it and name the file itself",
        )


INFLATE: dict[str, Callable[[BinaryIO, str, type[InputError]], BinaryIO]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstd": _zstd,
    "zip": _zip,
}
