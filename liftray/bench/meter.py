"""Measures the seconds of runs that take turns in one process.

Invariant: one run at a time, and compared runs take turns, so that a machine that slows down half-way slows all of them
alike. Used by `bare` for its variants; contestants run in their own processes, see `process`.
"""

import statistics
import time
from collections.abc import Callable, Mapping

from liftray.progress import progress


def in_turns(
    what: str,
    runs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time several runs: each once as warm-up, then `repeats` rounds.

    Args:
        what: What is measured, for the progress line.
        runs: The runs by name.
        repeats: Measured rounds.
        wait: Waits until the device is idle; called before the clock is read.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with progress(what, len(runs) * (repeats + 1), "runs") as advance:
        for turn in range(repeats + 1):
            for name, run in runs.items():
                wait()
                start = time.perf_counter()
                run()
                wait()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                advance()
    return seconds


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
