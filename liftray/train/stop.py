"""Stopping a run on a signal: the driver requests it, rank 0 passes it on, and all ranks end with a checkpoint.

Invariant: a run that was stopped resumes as if nothing had happened. Ranks agree on the step at which they stop,
because the request travels in the collective in which they read losses.
Flow: signal -> driver -> [the file] -> rank 0 -> loop -> checkpoint -> driver, which ends with KeyboardInterrupt.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from liftray import files
from liftray.progress import show_line

STOP_FILE = "stop"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_S = 0.2


class StopFile:
    """A file of the run directory that requests a stop as soon as it has content.

    The file exists from the start: on network file systems a process sees new content when it opens a file, but may
    take a minute to see a new name.

    Args:
        path: The file, on storage that the driver and rank 0 share.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self) -> None:
        """Take back the request of an earlier attempt; a missing directory is created."""
        files.make_directories(self._path.parent)
        self._path.write_bytes(b"")

    def request(self) -> None:
        """Request a stop."""
        self._path.write_bytes(b"stop\n")

    def requested(self) -> bool:
        """Whether a stop was requested; False where the file cannot be read."""
        try:
            return bool(self._path.read_bytes())
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the file at the end of the run."""
        self._path.unlink(missing_ok=True)


def run(work: Callable[[], object], stop: StopFile, grace_s: float) -> None:
    """Do work that ends early when a stop is requested, and request it on SIGINT or SIGTERM.

    The work runs in a thread of its own: Ray Train would take SIGINT over in the main thread, abort the workers, and
    end with status 0. From another thread than the main one, which cannot take signals, the work is done directly.

    Args:
        work: Runs the ranks to their end.
        stop: What the ranks look at; cleared first.
        grace_s: Seconds from the first signal after which the work is given up.

    Raises:
        KeyboardInterrupt: The time is over, or there was a second signal.
    """
    stop.clear()
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    failures: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    # A daemon: after a second signal the process ends, whatever the work does.
    thread = threading.Thread(target=do, daemon=True)
    with _signals_request(stop, grace_s) as overdue:
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_S)
            if overdue():
                raise KeyboardInterrupt
    if failures:
        raise failures[0]


@contextmanager
def _signals_request(stop: StopFile, grace_s: float) -> Iterator[Callable[[], bool]]:
    """Let the first signal request a stop and the second one interrupt; gives whether the grace period is over."""
    deadline: float | None = None

    def take(number: int, _frame: object) -> None:
        nonlocal deadline
        if deadline is not None:
            raise KeyboardInterrupt
        deadline = time.monotonic() + grace_s
        show_line(
            f"train: {signal.Signals(number).name}: stopping with a checkpoint within {grace_s:g} s; "
            "a second signal stops at once"
        )
        with suppress(OSError):  # a full disk: the deadline ends the run
            stop.request()

    before = {number: signal.signal(number, take) for number in _SIGNALS}
    try:
        yield lambda: deadline is not None and time.monotonic() > deadline
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
