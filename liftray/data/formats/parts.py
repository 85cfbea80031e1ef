"""The parts of a split (train, validation, test) that files name for their chains.

Invariant: chains of two parts never enter one data set unless the user asked for `all`. Flow: readers name the part of
each chain -> [this] chooses or refuses -> ingest.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from liftray.errors import DataError

ALL = "all"
_SAME = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
_TRUE = frozenset({"true", "1", "1.0", "yes"})


def part_of(name: str | None, validation: str | None = None) -> str:
    """The part that `SET=` and `VALIDATION=`, or the columns `set` and `validation`, name; "" for none.

    Args:
        name: `train`, `test`, `val` or another name.
        validation: FLIP's mark of the chains of `train` that validate.
    """
    part = (name or "").strip().lower()
    part = _SAME.get(part, part)
    if part in ("", "train") and (validation or "").strip().lower() in _TRUE:
        return "validation"
    return part


def header_fields(header: str) -> dict[str, str]:
    """The `KEY=VALUE` words of a FASTA header, keys in upper case: `>a TARGET=HHE SET=train MASK=110`."""
    words = header.split()[1:]
    pairs = (word.partition("=") for word in words if "=" in word[1:])
    return {key.upper(): value for key, _, value in pairs}


class PartGuard:
    """Takes the chains of one part.

    Attributes:
        left_out: Chains of other parts, by part.

    Args:
        wanted: The part to take, `all` for every one, or None where a mixture is an error.
        command: Makes the command with another `set`, for the remedy.
    """

    def __init__(
        self, wanted: str | None = None, command: Callable[[Mapping[str, Any]], str] | None = None
    ) -> None:
        self.wanted = ALL if wanted == ALL else part_of(wanted) or None
        self.left_out: Counter[str] = Counter()
        self._command = command
        self._taken = 0
        self._named = ""

    def takes(self, part: str, file: str) -> bool:
        """Whether a chain belongs to the data set.

        Raises:
            DataError: No part was chosen, and an earlier chain is of another one.
        """
        if self.wanted == ALL:
            return True
        if self.wanted:
            if part != self.wanted:
                self.left_out[part] += 1
                return False
            self._taken += 1
            return True
        if part and self._named and part != self._named:
            raise self._mixed(part, file)
        self._named = self._named or part
        return True

    def finish(self, where: str) -> None:
        """Raise DataError if a part was chosen and no chain is of it."""
        if self.wanted in (None, ALL) or self._taken or not self.left_out:
            return
        there = ", ".join(sorted(part or "none named" for part in self.left_out))
        raise DataError(f"no chain of the set {self.wanted!r}", where=where, remedy=f"the file has: {there}")

    def _mixed(self, part: str, file: str) -> DataError:
        run = (
            f"run: {self._command({'set': self._named})}" if self._command else f"choose --set {self._named}"
        )
        return DataError(
            f"chains of the sets {self._named!r} and {part!r} are mixed",
            where=file,
            remedy=f"{run} (--set {part} takes the other, --set all takes both)",
        )
