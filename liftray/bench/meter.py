"""Measures: the seconds of runs that take turns, and the peak memory of a process of its own.

Invariant: one thing runs at a time, and what is compared is run in turns, so that a machine that grows slower half-way
slows all of them alike. Used by the suites.
"""

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray.progress import progress


@dataclass(frozen=True)
class OwnProcess:
    """What a function did in a process of its own.

    Attributes:
        result: What it returned.
        seconds: How long it ran, without the start of the process.
        peak_bytes: Most memory that the process held, interpreter and libraries included.
    """

    result: Any
    seconds: float
    peak_bytes: int


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


def in_own_process(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> OwnProcess:
    """Run a function in a fresh process, so that its peak memory is its own.

    Args:
        function: A module-level function; its module's imports count towards the peak.
        arguments: What to call it with.
        keywords: Likewise.
    """
    # Spawned, not forked: a fork would start with this process's memory.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, function, arguments, keywords).result()


def _measure(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> OwnProcess:
    start = time.perf_counter()
    result = function(*arguments, **keywords)
    return OwnProcess(result, time.perf_counter() - start, _peak_bytes())


def _peak_bytes() -> int:
    """Peak resident memory of this process.

    From the kernel's status file: `getrusage` tells a child that was started by exec its parent's peak.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, "the kernel tells no peak memory"
    return int(found[1]) * 1024
