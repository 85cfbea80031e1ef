"""Names that users choose for data sets, models and runs, as files, metrics and MLflow can hold them.

Invariant: a name that passes makes no path, no other metric and no second meaning in any file that a run writes.
Flow: [this] -> sections.
"""

import re
import unicodedata
from collections.abc import Iterable

from liftray.errors import ConfigError

# The first part of a metric's name, and the last.
SPLITS = ("train", "valid", "test")
SCORES = (
    "q3", "q8", "q9", "macro_f1", "mcc", "sov99", "sov_refine", "nll", "brier", "ece", "loss", "lr", "seconds",
)  # fmt: skip
MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
_MOST = 100
_NOT_IN_METRICS = re.compile(r"[^\w\-. ]", re.ASCII)


def check_set_names(names: Iterable[str], *, reserved: Iterable[str] = ()) -> None:
    """Check the names of data sets of one split.

    Args:
        names: The names.
        reserved: Names with a meaning of their own.

    Raises:
        ConfigError: A name is empty, too long, reserved, or part of a path; or two names would share a metric.
    """
    taken, seen = {name.casefold() for name in reserved}, dict[str, str]()
    for name in names:
        if fault := _fault(name):
            raise ConfigError(f"the data set's name {name!r} {fault}; give it another name")
        if name.casefold() in taken:
            raise ConfigError(f"the data set's name {name!r} has a meaning of its own; give it another name")
        metric = _NOT_IN_METRICS.sub("_", name)
        if metric in seen:
            raise ConfigError(
                f"the data sets {seen[metric]!r} and {name!r} would have the same metrics; rename one"
            )
        seen[metric] = name


def check_text(what: str, text: str, most: int) -> None:
    """Check a name for MLflow.

    Raises:
        ConfigError: It is too long, or has an invisible or control character.
    """
    if len(text) > most:
        raise ConfigError(f"{what} has {len(text)} characters; {most} is the most")
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text):
        raise ConfigError(f"{what} {text!r} has an invisible or control character")


def _fault(name: str) -> str | None:
    if not name or name != name.strip():
        return "is empty, or begins or ends with a blank"
    if "/" in name or "\\" in name or ".." in name or name == ".":
        return "is part of a path (it holds '/', '\\' or '..')"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "has an invisible or control character"
    return f"has over {_MOST} bytes" if len(name.encode(errors="replace")) > _MOST else None
