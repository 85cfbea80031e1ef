"""The errors a user can meet, each saying what is wrong, where, and what to do.

Invariant: `str(error)` is one line, and `exit_code` is what a job ends with. Lowest layer: imports nothing of LiftRay.
"""


class LiftrayError(Exception):
    """A failure that LiftRay understands.

    Args:
        what: What is wrong, in a few words.
        where: The file, key, line or address it is about.
        remedy: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        parts = f"{what} in {where}" if where else what
        text = f"{parts}; {remedy}" if remedy else parts
        super().__init__(" ".join(text.split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a Ray worker to the driver."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(kind: type[LiftrayError], what: str, where: str | None, remedy: str | None) -> LiftrayError:
    return kind(what, where=where, remedy=remedy)


class InputError(LiftrayError, ValueError):
    """Something the user gave is at fault; nothing was written."""

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
    """The Ray cluster cannot be reached, or is too small for what was asked."""


class CacheError(InputError):
    """The frozen-prefix cache is damaged, of another backbone, gone, or its disk is full or not writable."""


class GateRefused(LiftrayError):
    """A promotion gate refused; nothing was changed."""

    exit_code = 3
