"""Runs a target on many inputs and judges each: a right result or a LiftrayError, in bounded time and memory.

Invariant: one process, one input after another; nothing but the input's number, the seed and the corpus decides what
an input is, so that a finding can be made again.
"""

import hashlib
import re
import resource
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from liftray import limits
from liftray.errors import GateRefused, LiftrayError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Target

HANG_S = 20
"""CPU time after which an input is given up."""
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass
class Finding:
    """One fault, with the first input that showed it."""

    kind: str
    detail: str
    number: int
    data: bytes
    count: int = 1


@dataclass
class Tally:
    """What a target's runs gave."""

    target: str
    runs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest: bytes = b""
    memory_bytes: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        """What the published table shows."""
        return {
            "target": self.target,
            "runs": self.runs,
            "read": self.runs - self.refused.total() - sum(one.count for one in self.findings.values()),
            "refused": self.refused.total(),
            "findings": len(self.findings),
            "slowest_ms": round(1000 * self.slowest_s, 1),
            "memory_mib": round(self.memory_bytes / limits.MIB, 1),
            "seconds": round(self.seconds),
        }


class HangError(BaseException):
    """An input did not end; not an Exception, so that no reader takes it for its own."""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError

    # By CPU time: SIGALRM is that of the test runner's own limit.
    before = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def fuzz(
    target: Target, runs: int, seed: int, folder: Path, *, first: int = 0, corpus: Sequence[bytes] = ()
) -> Tally:
    """Run a target on mutated inputs.

    Args:
        target: The reader.
        runs: How many inputs.
        seed: With the number of an input it decides what the input is.
        folder: An empty folder, best in memory; each input has one of its own in it.
        first: Number of the first input.
        corpus: Seeds; those of the target by default.
    """
    seeds, tally = corpus or target.seeds(), Tally(target.name)
    for data in seeds:  # what a first use imports and allocates is no input's fault
        one(target, data, folder, Tally(target.name), -1, peak_bytes())
    base, start = peak_bytes(), time.monotonic()
    with _alarm():
        for number in range(first, first + runs):
            data = mutate(Random(f"{seed}:{target.name}:{number}"), seeds, target.words)
            one(target, data, folder, tally, number, base)
    tally.seconds = time.monotonic() - start
    return tally


def one(target: Target, data: bytes, folder: Path, tally: Tally, number: int, base: int) -> None:
    """Run one input and add its verdict to the tally; `base` is the most memory that the process had before all."""
    inside = folder / "input"
    inside.mkdir()
    start = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        target.run(data, inside)
    except LiftrayError as error:
        tally.refused[type(error).__name__] += 1
        if _UNPRINTABLE.search(str(error)):
            _add(tally, "unprintable", repr(str(error)[:200]), number, data)
        if error.exit_code not in (2, GateRefused.exit_code):
            _add(tally, "exit code", f"{type(error).__name__}: {error.exit_code}", number, data)
    except HangError:
        _add(tally, "hang", f"over {HANG_S} s", number, data)
    except Exception as error:
        _add(tally, type(error).__name__, _place(error), number, data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - start
    grown = peak_bytes() - base
    tally.runs += 1
    tally.memory_bytes = max(tally.memory_bytes, grown)
    if seconds > tally.slowest_s:
        tally.slowest_s, tally.slowest = seconds, data
    if seconds > target.seconds:
        _add(tally, "slow", f"{seconds:.1f} s", number, data)
    if grown > limits.READER_MEMORY_BYTES + len(data):
        _add(tally, "memory", f"{grown >> 20} MiB", number, data)
    shutil.rmtree(inside)


def save(tally: Tally, folder: Path) -> list[Path]:
    """Write the input of each finding under its digest."""
    written = []
    for finding in tally.findings.values():
        path = folder / tally.target / hashlib.sha256(finding.data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(finding.data)
        written.append(path)
    return written


def _add(tally: Tally, kind: str, detail: str, number: int, data: bytes) -> None:
    key = kind if kind in ("slow", "memory", "unprintable") else f"{kind} {detail}"
    if key in tally.findings:
        tally.findings[key].count += 1
    else:
        tally.findings[key] = Finding(kind, detail, number, data)


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/liftray/" in frame.filename or "/tests/fuzz/" in frame.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.name}: {' '.join(str(error).split())[:120]}"
