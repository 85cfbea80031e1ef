"""File operations that leave either the old state or the new one, and digests of files.

Invariant: a reader never sees a half-written file or directory under its final name, not even after a loss of power.
Bytes reach the disk before their name does. Used by every stage that writes.

All durable data is written through `DISK`, whose few operations a test can record and replay up to any point.
"""

import ctypes
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from liftray.errors import ConfigError, StorageError

_CHUNK = 1 << 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class Disk:
    """The operations of durable writes, each one system call (or a loop over one)."""

    def create(self, path: Path) -> int:
        """Create a file with the permissions that the umask leaves; returns a descriptor to read and write it."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def append(self, file: int, path: Path, content: bytes | memoryview) -> None:
        """Write at the end of a file that `create` opened; `path` is its name."""
        left = memoryview(content).cast("B")
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError as error:
            error.filename = os.fspath(path)  # a descriptor has no name, and the user needs one
            raise

    def fsync(self, path: Path) -> None:
        """Flush a file's bytes to the disk, whichever process wrote them."""
        _sync(path, os.O_RDONLY)

    def sync_directory(self, path: Path) -> None:
        """Flush a directory's names to the disk."""
        try:
            _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems refuse it
                raise

    def replace(self, source: Path, target: Path) -> None:
        """Rename; a file or an empty directory under the target's name is replaced."""
        os.replace(source, target)

    def exchange(self, one: Path, other: Path) -> None:
        """Swap two names.

        Raises:
            OSError: A name is missing, or the system or the file system does not support it.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "renameat2"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        names = os.fsencode(one), os.fsencode(other)
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(one), None, str(other))

    def remove(self, path: Path) -> None:
        """Remove a file, a link or an empty directory."""
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()

    def mkdir(self, path: Path) -> None:
        """Create a directory with the permissions that the umask leaves."""
        path.mkdir()


DISK = Disk()


def make_directories(path: str | Path) -> None:
    """Create a directory and its missing parents, durably."""
    path = Path(path)
    if path.is_dir():
        return
    make_directories(path.parent)
    try:
        DISK.mkdir(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    DISK.sync_directory(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file durably: it appears whole under its name, or not at all."""
    path = Path(path)
    make_directories(path.parent)
    fresh = _temporary_name(path, "")
    try:
        file = DISK.create(fresh)
        try:
            DISK.append(file, fresh, content)
        finally:
            os.close(file)
        DISK.fsync(fresh)
        DISK.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            DISK.remove(fresh)
        raise
    DISK.sync_directory(path.parent)


def write_text(path: str | Path, content: str) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, keys in the given order; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_writable(directory: str | Path) -> None:
    """Find out, without writing, whether a directory can be made or written.

    Raises:
        StorageError: It is a file, or it or its nearest parent cannot be written.
    """
    wanted = Path(directory).absolute()
    there = next(path for path in (wanted, *wanted.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise StorageError("not a directory", where=str(there), remedy="move away what is there")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(
            f"{wanted} cannot be written", where=str(there), remedy="choose a directory that can be written"
        )


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Fill a directory under a temporary name; it replaces `path` when the block ends without an exception.

    Args:
        path: The final name; a directory under that name is replaced.

    Yields:
        The directory to write into.
    """
    path = Path(path)
    make_directories(path.parent)
    fresh = _temporary_name(path, "new.")
    DISK.mkdir(fresh)
    try:
        yield fresh
        for inside in (*sorted(fresh.rglob("*"), reverse=True), fresh):  # a directory after what is in it
            _make_durable(inside)
        _put_in_place(fresh, path)
    except BaseException:
        _clear(fresh)
        raise


def remove_directory(path: str | Path) -> None:
    """Remove a directory and its content; its name is removed first, so that nobody sees it half empty."""
    path = Path(path)
    old = _temporary_name(path, "old.")
    DISK.mkdir(old)  # empty, so a rename may replace it
    try:
        DISK.replace(path, old)
    except BaseException:
        _clear(old)
        raise
    DISK.sync_directory(path.parent)
    _clear(old)


def sweep(directory: str | Path) -> None:
    """Remove what killed writers left in a directory under temporary names; no other writer may be active there.

    A directory that was moved away for a replacement that never came gets its name back.
    """
    for old in Path(directory).glob(".*.old.*"):
        name, _, rest = old.name[1:].rpartition(".old.")
        if rest.startswith("kept.") and not (old.parent / name).exists():
            DISK.replace(old, old.parent / name)
            DISK.sync_directory(old.parent)
    for pattern in (".*.new.*", ".*.old.*"):
        for left in Path(directory).glob(pattern):
            _clear(left)


@contextmanager
def sole_user(directory: str | Path, what: str) -> Iterator[None]:
    """Lock a directory against other processes that call this; the directory is created if it is missing.

    Args:
        directory: The directory.
        what: What uses it, for the error: `run`, `search`.

    Raises:
        ConfigError: Another process uses it.
    """
    import filelock

    make_directories(directory)
    lock = filelock.FileLock(Path(directory) / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigError(
            f"another {what} is running in it",
            where=str(directory),
            remedy="wait for it, or use another run.dir",
        ) from error
    try:
        yield
    finally:
        lock.release()


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex, read in pieces; OSError for a pipe or a device, which have no end."""
    digest = hashlib.sha256()
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _put_in_place(fresh: Path, path: Path) -> None:
    if not path.is_dir():
        DISK.replace(fresh, path)
        DISK.sync_directory(path.parent)
        return
    try:
        DISK.exchange(fresh, path)
    except OSError:
        fresh = _swap_by_hand(fresh, path)
    DISK.sync_directory(path.parent)
    _clear(fresh)


def _swap_by_hand(fresh: Path, path: Path) -> Path:
    """Replace a directory where the file system cannot swap two names (NFS); returns the old one's new name.

    For a moment nothing has the final name. If the process dies then, `sweep` puts the old directory back.
    """
    old = _temporary_name(path, "old.kept.")
    DISK.replace(path, old)
    try:
        DISK.replace(fresh, path)
    except BaseException:
        DISK.replace(old, path)
        raise
    return old


def _temporary_name(path: Path, kind: str) -> Path:
    """A free name in the same directory that contains its purpose."""
    return path.with_name(f".{path.name}.{kind}{secrets.token_hex(6)}")


def _make_durable(inside: Path) -> None:
    if inside.is_symlink():
        return
    # The umask's permissions: safetensors creates files for their owner alone.
    umask = os.umask(0)
    os.umask(umask)
    inside.chmod((0o777 if inside.is_dir() else 0o666) & ~umask)
    if inside.is_dir():
        DISK.sync_directory(inside)
    else:
        DISK.fsync(inside)


def _clear(path: Path) -> None:
    """Remove what no process reads any more; what cannot be removed now is left for a later sweep."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            for inside in path.iterdir():
                _clear(inside)
        DISK.remove(path)


def _sync(path: Path, flags: int) -> None:
    file = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
