"""The errors that a user can meet: each states where the fault is, what is wrong and what to do.

Invariant: `str(error)` is one line, `WHERE: WHAT; REMEDY`, safe to show, and `exit_code` is the code that a job ends
with.
"""

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
        The outermost LiftrayError among the exception and its causes, None when there is none.
    """
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        # Ray raises a task's error as one of the cause's class too, but its text is a remote traceback.
        if isinstance(one, LiftrayError) and not isinstance(getattr(one, "cause", None), LiftrayError):
            return one
        pending.extend(_causes(one))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The causes that Python and Ray keep: `cause` of a Ray task, `worker_failures` of Ray Train."""
    candidates = [error.__cause__]
    candidates += [getattr(error, name, None) for name in ("cause", "controller_failure")]
    failures = getattr(error, "worker_failures", None)
    if isinstance(failures, dict):
        candidates += failures.values()
    if isinstance(error, BaseExceptionGroup):
        candidates += error.exceptions
    yield from (one for one in candidates if isinstance(one, BaseException))
