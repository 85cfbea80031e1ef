"""The lines that a person sees of a run: epochs, steps, lost workers, and where it resumed.

Invariant: the time left follows from this run's own epochs and steps, never from the start of processes. Within an
epoch there is a line every few seconds on a terminal, and so few elsewhere that a log stays readable.
Flow: reporter -> [this].
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from liftray.progress import Pace, duration

_TERMINAL_S, _LOG_S = 5.0, 25.0
# Seconds without a line after which one is shown nevertheless.
_SILENCE_S = 30.0
# The epochs whose mean time judges the time left.
_RECENT = 3


class RunLines:
    """Turns the records of a run into lines.

    Args:
        title: What is being trained.
        epochs: Epochs of the run at most.
        steps: Gives the global steps of an epoch.
        max_failures: Restarts of lost workers at most.
        terminal: Whether the lines go to a terminal.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        title: str,
        epochs: int,
        steps: Callable[[int], int],
        max_failures: int,
        *,
        terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._epochs, self._steps, self._max_failures = title, epochs, steps, max_failures
        self._every_s, self._clock = _TERMINAL_S if terminal else _LOG_S, clock
        self._failures = 0
        self._ends: list[float] = []  # of the epochs that this run has shown
        self._pace, self._last_step = Pace(), 0
        self._start = self._last_line = clock()
        self._reported = False  # whether a record has come

    def of(self, record: Mapping[str, Any]) -> str | None:
        """The line for a record; None where none is due."""
        self._reported = True
        if "failed" in record:
            text = self._failure(record["failed"])
        elif "resumed" in record:
            text = f"resumed at step {record['resumed']:,} of {record['of']:,}"
            self._pace = Pace()  # another process, another clock
        elif "stopped" in record:
            text = f"stopped at step {record['stopped']:,} of {record['of']:,}, its checkpoint is written"
        elif "train/loss" in record:
            text = self._epoch(record)
        else:
            if record["global_step"] <= self._last_step:  # the run started again from the beginning
                self._pace = Pace()
            self._last_step = record["global_step"]
            self._pace.add(record["global_step"], record["seconds"])
            if self._clock() - self._last_line < self._every_s:
                return None
            text = self._step(record)
        self._last_line = self._clock()
        return f"{self._title}: {text}"

    def silence(self) -> str | None:
        """The line for a long time without a record; None where none is due."""
        now = self._clock()
        if now - self._last_line < _SILENCE_S:
            return None
        self._last_line = now
        if not self._reported:
            return f"{self._title}: no step yet, {duration(now - self._start)} so far"
        return f"{self._title}: running, no report for {_SILENCE_S:.0f} s"

    def _failure(self, reasons: Mapping[str, str]) -> str:
        self._failures += 1
        self._ends.clear()
        workers = ", ".join(f"worker {rank} {reason}" for rank, reason in reasons.items())
        if self._failures > self._max_failures:
            return f"{workers}, no restart is left of {self._max_failures}"
        return f"{workers}, restart {self._failures} of {self._max_failures}"

    def _epoch(self, record: Mapping[str, Any]) -> str:
        self._ends.append(self._clock())
        recent = self._ends[-_RECENT - 1 :]
        # The time between two ends includes validation and checkpoint.
        seconds = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else record["train/seconds"]
        scores = ", ".join(
            f"{name.removeprefix('valid/').upper()} {100 * record[name]:.2f}"
            for name in ("valid/q9", "valid/q8", "valid/q3")
            if name in record
        )
        done = record["epoch"] + 1
        left = duration((self._epochs - done) * seconds)
        return (
            f"epoch {done}/{self._epochs}, loss {record['train/loss']:.4f}, validation {scores}, "
            f"{record['train/residues_per_s']:,.0f} residues/s, at most {left} left"
        )

    def _step(self, record: Mapping[str, Any]) -> str:
        epoch, step = record["epoch"], record["step"]
        steps = self._steps(epoch)
        text = f"epoch {epoch + 1}/{self._epochs}, step {step:,}/{steps:,}, loss {record['loss']:.4f}"
        rate = self._pace.rate(record["seconds"])
        if rate is None:
            return text
        return f"{text}, {rate:.3g} steps/s, {duration((steps - step) / rate)} left in this epoch"
