"""Locks between the processes that share a store: leases on shards, and the lock on a directory's names.

Invariant: only the holder of a shard's exclusive lease removes its file, and files appear or vanish only under the
directory's lock. Both are `flock` locks: the kernel releases them with the process, however it ends.
Used by shard, writer, reader and evict.

A lease belongs to the open file, not to the process. It ends when the last descriptor and the last memory map of the
file are closed, also in forked children. So it is never unlocked, only closed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def names(directory: Path) -> Iterator[None]:
    """Hold, for a moment, the lock under which files of a store's directory appear and vanish."""
    file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def hold(file: int) -> None:
    """Take the exclusive lease on a new file, under the directory's lock: no other process can have one."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def ease(file: int) -> None:
    """Turn the exclusive lease into a shared one, under the directory's lock: readers may take one from now on."""
    fcntl.flock(file, fcntl.LOCK_SH)


def share(path: Path) -> int | None:
    """Take a shared lease, to read; waits for a process that is removing the file.

    Returns:
        The open file with the lease, or None when the file is gone.
    """
    return _take(path, os.O_RDONLY, fcntl.LOCK_SH)


def claim(path: Path) -> int | None:
    """Take the exclusive lease, to remove the file.

    Returns:
        The open file with the lease, or None when the file is gone or in use.
    """
    return _take(path, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _take(path: Path, flags: int, kind: int) -> int | None:
    try:
        file = os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, kind)
        # The file may have been removed between opening and locking.
        if os.fstat(file).st_nlink:
            return file
    except BlockingIOError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None
