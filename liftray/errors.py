"""The errors that a user can meet: each states where the fault is, what is wrong and what to do.

Invariant: `str(error)` is one line, `WHERE: WHAT; REMEDY`, safe to show, and `exit_code` is the code that a job ends
with.
"""

import errno
import os
import re
from collections.abc import Iterator

from liftray.plain_text import one_line


class LiftrayError(Exception):
    """A failure whose cause LiftRay knows.

    Args:
        what: What is wrong, in a few words.
        where: The file, key, line or address that causes it.
        remedy: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        fault = self._located(what, where) if where else what
        text = f"{fault}; {remedy}" if remedy else fault
        super().__init__(one_line(text))

    def _located(self, what: str, where: str) -> str:
        return f"{where}: {what}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the error, so that it passes from a Ray worker to the driver."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(kind: type[LiftrayError], what: str, where: str | None, remedy: str | None) -> LiftrayError:
    return kind(what, where=where, remedy=remedy)


class InputError(LiftrayError, ValueError):
    """The user's input is invalid; nothing was written."""

    exit_code = 2


class ConfigError(InputError):
    """A config key, value or combination is not valid."""


class DataError(InputError):
    """A protein file or a Parquet data set is missing, malformed or of the wrong alphabet."""


class BackboneError(InputError):
    """No backbone source is reachable, or its files are unsafe, damaged or of an unknown family."""


class BundleError(InputError):
    """A model bundle is missing, incomplete or does not match its backbone."""


class TrackingError(InputError):
    """The MLflow store, server or registry cannot be reached or lacks what was named."""


class ClusterError(InputError):
    """The Ray cluster cannot be reached, or is too small for the requested workers."""


class CacheError(InputError):
    """The frozen-prefix cache is damaged, of another backbone, gone, or its disk is full or not writable."""


class DivergedError(LiftrayError):
    """The loss of a training run became infinite or no number; the weights of before are in its checkpoint."""

    exit_code = 2


class StorageError(InputError):
    """A disk is full, or a file or directory cannot be read or written as asked."""


class GateRefused(LiftrayError):
    """A promotion gate refused; nothing was changed."""

    exit_code = 3

    def _located(self, what: str, where: str) -> str:
        return f"{what} ({where})"  # `what` begins with the gate's code, which scripts look for.


def find_liftray_error(error: BaseException) -> LiftrayError | None:
    """Find the LiftrayError behind an exception of Ray Train, Ray Tune or a Ray task.

    Args:
        error: The exception that was caught.

    Returns:
        The outermost LiftrayError among the exception and its causes. If there is none, a StorageError where one of
        them says that the disk is full or may not be used so; else None.
    """
    chain = list(_chain(error))
    for one in chain:
        # Ray raises a task's error as one of the cause's class too, but its text is a remote traceback.
        if isinstance(one, LiftrayError) and not isinstance(getattr(one, "cause", None), LiftrayError):
            return one
    return next((found for one in chain if (found := _storage_error(one)) is not None), None)


def describe_failure(error: BaseException) -> str:
    """One line about an exception that is no LiftrayError: what lies at its bottom, and on which worker.

    Errors of Ray hold the cause as an attribute, and have its traceback or nothing as their text.

    Args:
        error: The exception that was caught.

    Returns:
        Such as `worker 1: RuntimeError: connection refused (WorkerGroupError)`.
    """
    failures = getattr(error, "worker_failures", None)
    rank = f"worker {min(failures)}: " if isinstance(failures, dict) and failures else ""
    bottom, seen = error, {id(error)}
    while (inner := next((one for one in _causes(bottom) if id(one) not in seen), None)) is not None:
        bottom = inner
        seen.add(id(bottom))
    first = str(bottom).strip().partition("\n")[0] or "no message"
    outside = "" if bottom is error else f" ({type(error).__name__})"
    return f"{rank}{type(bottom).__name__}: {first}{outside}"


_FULL = "free space, or choose another directory"
_CLOSED = "choose a directory that can be written"
# What the system says about a file or its disk -> what the user can do. A file that is missing is not in it: no part of
# LiftRay relies on that, so it would be a flaw of LiftRay.
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EEXIST: "move away what is there",
    errno.ENOTDIR: "move away what is there",
    errno.EISDIR: "move away what is there",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "choose a path without a circle of links",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
}
# Libraries in C++ and Rust, and SQLite, give a text alone.
_TEXTS = {
    errno.ENOSPC: re.compile(r"No space left on device|StorageFull|database or disk is full|code: 28\b"),
    errno.EDQUOT: re.compile(r"[Qq]uota exceeded"),
    errno.EFBIG: re.compile(r"File too large|FileTooLarge"),
    errno.EROFS: re.compile(r"Read-only file system|readonly database|ReadOnlyFilesystem"),
}


def _storage_error(error: BaseException) -> StorageError | None:
    number = error.errno if isinstance(error, OSError) else None
    if number not in _REMEDIES:
        text = str(error)
        number = next((one for one, sign in _TEXTS.items() if sign.search(text)), None)
    if number is None:
        return None
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    where = next((os.fsdecode(name) for name in names if isinstance(name, str | bytes)), None)
    what = os.strerror(number)
    return StorageError(what[0].lower() + what[1:], where=where, remedy=_REMEDIES[number])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, the outermost first."""
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending.extend(_causes(one))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The causes that Python and Ray keep: `cause` of a Ray task, `worker_failures` of Ray Train."""
    candidates = [error.__cause__]
    candidates += [getattr(error, name, None) for name in ("cause", "controller_failure")]
    failures = getattr(error, "worker_failures", None)
    if isinstance(failures, dict):
        candidates += [failures[rank] for rank in sorted(failures)]
    if isinstance(error, BaseExceptionGroup):
        candidates += error.exceptions
    yield from (one for one in candidates if isinstance(one, BaseException))
