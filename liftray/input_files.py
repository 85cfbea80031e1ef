"""Opening what a user names: regular files only, inflated by their first bytes, never more than a limit.

Invariant: opening neither blocks nor starts a device: a FIFO, a socket, a device or a directory is refused at once. A
compressed file never gives more than `limits` allows for its size, and a damaged one never ends as if it were whole.
All readers open their files here. Flow: path -> [this] -> a reader.
"""

import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from liftray import inflate, limits
from liftray.errors import DataError, InputError

_HEAD_BYTES = 8
_PIECE = 1 << 16
_TAR_MARK = slice(257, 262)
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class DamagedStreamError(Exception):
    """A compressed stream ended early (`truncated`) or its bytes are not what was compressed.

    Attributes:
        compression: `gzip`, `bzip2`, `xz`, `zip` or `zstd`.
        truncated: Whether it ended early.
    """

    def __init__(self, compression: str, *, truncated: bool) -> None:
        super().__init__(f"the {compression} stream {'ends early' if truncated else 'is damaged'}")
        self.compression, self.truncated = compression, truncated


def open_regular(path: str | Path, *, error: type[InputError] = DataError) -> BinaryIO:
    """Open a regular file as it is, not inflated.

    Args:
        path: The file; a link to one is followed.
        error: Class of the errors.

    Raises:
        InputError: Of class `error`: it is missing, may not be read, or is no regular file.
    """
    where = str(path)
    try:
        _check_kind(os.stat(path), where, error)
        # Without blocking: the name may have become a FIFO since.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except InputError:
        raise
    except (OSError, ValueError) as fault:
        raise unreadable(path, fault, error) from fault
    try:
        _check_kind(os.fstat(file), where, error)
    except BaseException:
        os.close(file)
        raise
    return open(file, "rb")


def check_regular(path: str | Path, *, error: type[InputError] = DataError) -> int:
    """Refuse what `open_regular` refuses, for a library that opens the file itself; returns the size in bytes."""
    with open_regular(path, error=error) as file:
        return os.fstat(file.fileno()).st_size


@contextmanager
def open_input(
    path: str | Path, *, max_bytes: int = limits.STREAMED_BYTES, error: type[InputError] = DataError
) -> Iterator[BinaryIO]:
    """Open a file's content, inflated where it is compressed: gzip, bzip2, xz, zstd, or zip with one member.

    Args:
        path: The file. Its first bytes decide, not its name.
        max_bytes: The most that may be read of it.
        error: Class of the errors.

    Yields:
        The content as a stream. Its reads raise `DamagedStreamError` where the compressed bytes are damaged, and
        `error` where the content is over a limit.

    Raises:
        InputError: Of class `error`: see `open_regular`; or the compression or the archive is not one that is read.
    """
    where = str(path)
    with ExitStack() as stack:
        raw = stack.enter_context(open_regular(path, error=error))
        head = raw.read(_HEAD_BYTES)
        raw.seek(0)
        compression = inflate.compression_of(head, where, error)
        size = os.fstat(raw.fileno()).st_size
        if compression is None:
            inner, most = raw, max_bytes
        else:
            inner = stack.enter_context(inflate.INFLATE[compression](raw, where, error))
            most = min(max_bytes, max(limits.INFLATION_FREE_BYTES, limits.INFLATION_RATIO * size))
        bounded = _Bounded(inner, compression, most, most < max_bytes, where, error)
        stream = cast(BinaryIO, stack.enter_context(io.BufferedReader(bounded, _PIECE)))
        if compression and _is_tar(stream):
            raise error("a tar archive", where=where, remedy="unpack it and name the file itself")
        yield stream


def read_input(
    path: str | Path, *, max_bytes: int, error: type[InputError] = DataError, inflated: bool = True
) -> bytes:
    """Read a file whole; arguments and errors as `open_input`.

    Args:
        path: The file.
        max_bytes: The most that it may have, inflated.
        error: Class of the errors.
        inflated: Whether a compressed file is inflated, or read as it is.

    Raises:
        InputError: Of class `error`; here a damaged stream is one too.
    """
    try:
        if inflated:
            with open_input(path, max_bytes=max_bytes, error=error) as stream:
                return stream.read()
        with open_regular(path, error=error) as file:
            return _Bounded(file, None, max_bytes, False, str(path), error).read()
    except DamagedStreamError as fault:
        raise error(str(fault), where=str(path), remedy="copy or download the file again") from fault


def first_bytes(path: str | Path, count: int = _HEAD_BYTES, *, error: type[InputError] = DataError) -> bytes:
    """The first bytes of a file as it is, not inflated; errors as `open_regular`."""
    with open_regular(path, error=error) as file:
        try:
            return file.read(count)
        except OSError as fault:
            raise unreadable(path, fault, error) from fault


def unreadable(
    path: str | Path, fault: OSError | ValueError, error: type[InputError] = DataError
) -> InputError:
    """The error for a file that cannot be opened or read."""
    if isinstance(fault, FileNotFoundError | NotADirectoryError):
        return error("no such file", where=str(path), remedy="check the path")
    # A ValueError is that of a NUL in the name.
    reason = (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
    return error(f"cannot read the file ({reason})", where=str(path), remedy="check its path and permissions")


def _check_kind(found: os.stat_result, where: str, error: type[InputError]) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "no regular file")
    raise error(f"{kind}, where a file is needed", where=where, remedy="name a regular file")


def _is_tar(stream: BinaryIO) -> bool:
    try:
        return cast(io.BufferedReader, stream).peek(512)[_TAR_MARK] == b"ustar"
    except DamagedStreamError:  # the reader meets it again, and knows how far it came
        return False


class _Bounded(io.RawIOBase):
    """The bytes of a stream up to a limit; every fault of a decompressor becomes `DamagedStreamError`."""

    def __init__(
        self,
        inner: BinaryIO,
        compression: str | None,
        most: int,
        by_ratio: bool,
        where: str,
        error: type[InputError],
    ) -> None:
        self._inner, self._compression, self._most = inner, compression, most
        self._by_ratio, self._where, self._error = by_ratio, where, error
        self._given = 0
        self._fault: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._fault is not None:  # a decompressor that failed once may give anything afterwards
            raise self._fault
        try:
            piece = self._read(min(len(view), self._most + 1 - self._given))
            self._given += len(piece)
            if self._given > self._most:
                raise self._over()
        except (DamagedStreamError, InputError) as fault:
            self._fault = fault
            raise
        view[: len(piece)] = piece
        return len(piece)

    def _read(self, size: int) -> bytes:
        try:
            if hasattr(self._inner, "read1"):
                return cast(bytes, self._inner.read1(size))
            return self._inner.read(size)
        except EOFError as fault:
            raise self._damaged(truncated=True) from fault
        except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as fault:
            raise self._damaged(truncated=False) from fault
        except OSError as fault:  # bz2, gzip and zstd raise it without a number; the system's has one
            if self._compression is None or fault.errno is not None:
                raise unreadable(self._where, fault, self._error) from fault
            raise self._damaged(truncated="runcated" in str(fault)) from fault

    def _damaged(self, *, truncated: bool) -> DamagedStreamError:
        return DamagedStreamError(self._compression or "file", truncated=truncated)

    def _over(self) -> InputError:
        if self._by_ratio:
            what = f"inflates to over {self._most:,} bytes, {limits.INFLATION_RATIO} times its size"
            return self._error(what, where=self._where, remedy="unpack it first if it is meant")
        return self._error(
            f"over {self._most:,} bytes",
            where=self._where,
            remedy="split it, or check that it is the right file",
        )
