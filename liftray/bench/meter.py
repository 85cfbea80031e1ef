"""Measures the seconds of runs that take turns in one process.

Invariant: one thing runs at a time, and what is compared is run in turns, so that a machine that grows slower half-way
slows all of them alike. Used by `bare` for its variants; contestants run in processes of their own, see `process`.
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
    """Time several runs: first each once unmeasured, then `repeats` rounds of each once.

    Args:
        what: What is measured, for the progress line.
        runs: The runs by name.
        repeats: Rounds that count.
        wait: Waits until the device has done what it was given; called before the clock is read.

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
