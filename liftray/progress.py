"""Progress for a person: a bar on a terminal, plain lines with a rate and an ETA otherwise.

Invariant: everything goes to stderr, so stdout stays what a job prints as its result.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells that `amount` more units are done."""

    def __call__(self, amount: float = 1) -> None:
        """Advance by `amount` units."""


def show_line(line: str) -> None:
    """Print one line for the person who watches."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: float | None, unit: str, every_s: float = 5.0) -> Iterator[Advance]:
    """Show how far a piece of work has come.

    Args:
        what: What is being done, in a few words.
        total: Units in all; None where unknown.
        unit: Plural name of a unit, such as `chains`.
        every_s: Seconds between two plain lines.

    Yields:
        A function to call with the number of units just done.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda amount=1: bar.advance(task, amount)
        return
    lines = _Lines(what, total, unit, every_s)
    yield lines
    lines.finish()


class _Lines:
    def __init__(self, what: str, total: float | None, unit: str, every_s: float) -> None:
        self._what, self._total, self._unit, self._every_s = what, total, unit, every_s
        self._done = 0.0
        self._start = self._last = time.monotonic()

    def __call__(self, amount: float = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            show_line(self._line(now))

    def finish(self) -> None:
        now = time.monotonic()
        show_line(f"{self._what}: {self._done:g} {self._unit} in {now - self._start:.1f} s")

    def _line(self, now: float) -> str:
        rate = self._done / max(now - self._start, 1e-9)
        if not self._total or not rate:
            return f"{self._what}: {self._done:g} {self._unit}, {rate:.1f} {self._unit}/s"
        left = (self._total - self._done) / rate
        share = 100 * self._done / self._total
        return (
            f"{self._what}: {self._done:g}/{self._total:g} {self._unit} ({share:.0f} %), "
            f"{rate:.1f} {self._unit}/s, {left:.0f} s left"
        )
