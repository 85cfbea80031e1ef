"""A time limit for the first look at a store of another machine.

Invariant: a call to it returns or raises within its limit, and Ctrl-C ends the wait: Arrow's clients look for
credentials and repeat requests for many minutes inside C++, where no signal reaches Python.
Flow: dataset -> [this] -> Arrow.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from liftray.errors import DataError

LIMIT_S = 30.0
_running: set[threading.Thread] = set()
_T = TypeVar("_T")


def is_left_behind() -> bool:
    """Whether a call still runs: at its end, a process would wait for it."""
    return bool(_running)


def answered(call: Callable[[], _T], where: str, limit_s: float = LIMIT_S) -> _T:
    """Call in another thread, which is left behind if it takes longer than the limit.

    Args:
        call: What to do.
        where: The address, for the error.
        limit_s: Seconds to wait.

    Returns:
        What it returns; its exception is raised here.

    Raises:
        DataError: It has not returned in time.
    """
    results: list[_T] = []
    faults: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as fault:
            faults.append(fault)
        finally:
            _running.discard(threading.current_thread())
            ended.set()

    thread = threading.Thread(target=run, daemon=True, name="remote")
    _running.add(thread)
    thread.start()
    if not ended.wait(limit_s):
        raise DataError(
            f"no answer in {limit_s:.0f} s",
            where=where,
            remedy="check the address, the network and the credentials in the environment",
        )
    if faults:
        raise faults[0]
    return results[0]
