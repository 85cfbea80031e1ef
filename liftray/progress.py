"""Progress for the person who watches: a bar on a terminal, plain lines elsewhere, each with a rate and the time left.

Invariant: everything goes to stderr, so stdout stays what a job prints as its result. Every line is plain text, see
`plain_text`. A rate and a time left are shown only after they are measured. Their clock starts when the first unit is
completed, not when the process or its workers start.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, Protocol, TextIO

from liftray.plain_text import one_line, shown, unfiltered

# Seconds between two plain lines: few at first, then so many that a log of hours stays readable.
_EVERY_S, _MOST_S = 5.0, 30.0
# Seconds without a completed unit after which a line shows that the work is still running.
_HEARTBEAT_S = 15.0
_TICK_S = 1.0


class Advance(Protocol):
    """Reports that `amount` more units are completed."""

    def __call__(self, amount: float = 1) -> None:
        """Advance by `amount` units."""


class _Output:
    """Where lines go.

    Attributes:
        stream: For the person who watches; None: `sys.stderr`, whatever that is when a line is printed.
        timestamps: Whether each line begins with the time.
        log: Takes every line as well.
        display: The console of a bar or table on the terminal while one is shown; lines are printed above it.
    """

    stream: TextIO | None = None
    timestamps = False
    log: Callable[[str], None] | None = None
    display: Any = None


_output = _Output()


def send_lines_to(stream: TextIO | None, log: Callable[[str], None] | None, *, timestamps: bool) -> None:
    """Choose where lines go from now on.

    Args:
        stream: For the person who watches; None: `sys.stderr`.
        log: Takes every line, after the time, as well.
        timestamps: Begin each line on `stream` with the time.
    """
    _output.stream, _output.log, _output.timestamps = stream, log, timestamps


def on_terminal() -> bool:
    """Whether lines go to a terminal."""
    stream = _output.stream or sys.stderr
    return stream is not None and stream.isatty()


def show_line(line: str) -> None:
    """Print one line for the person who watches."""
    line = " ".join(shown(line).splitlines())
    stream, stamped = _output.stream or sys.stderr, _timed(line)
    if _output.display is not None:
        _output.display.print(line, markup=False, highlight=False, soft_wrap=True)
    elif stream is not None:  # None: a process without stderr
        print(stamped if _output.timestamps else line, file=stream, flush=True)
    if _output.log is not None:
        _output.log(stamped)


@contextmanager
def table(render: Callable[[], Any]) -> Iterator[Callable[[], None] | None]:
    """Show a table that keeps itself up to date, where lines go to a terminal, while the block runs.

    Args:
        render: Gives what rich shows.

    Yields:
        A function that shows the latest state at once; None where there is no terminal.
    """
    console = _console()
    if console is None:
        yield None
        return
    from rich.live import Live

    live = Live(console=console, get_renderable=render, refresh_per_second=2, redirect_stderr=False)
    with _shown(live, console):
        try:
            yield live.refresh
        finally:
            live.refresh()


def _console() -> Any:
    """A console on the terminal that lines go to; None where there is no terminal or something is shown already."""
    stream = _output.stream or sys.stderr
    if stream is None or not stream.isatty() or _output.display is not None:
        return None
    from rich.console import Console

    return Console(file=unfiltered(stream))


@contextmanager
def _shown(live: Any, console: Any) -> Iterator[None]:
    with live:
        _output.display = console
        try:
            yield
        finally:
            _output.display = None


def log_line(line: str) -> None:
    """Write one line to the log of the job alone, where there is one."""
    if _output.log is not None:
        _output.log(_timed(" ".join(shown(line).splitlines())))


def _timed(line: str) -> str:
    return f"{datetime.now().isoformat(sep=' ', timespec='seconds')} {line}"


def duration(seconds: float) -> str:
    """A duration as a person reads it: `42 s`, `12 min`, `3 h 20 min`."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """The rate of a piece of work over its last minute, from the moments at which units were completed.

    The first completion only starts the clock: what came before it was the start of processes, not work.

    Args:
        window_s: Seconds back from now that count, as long as they hold enough completions.
        settle_s: Seconds between the first and the last completion before there is a rate.
    """

    _FEWEST, _APART_S = 3, 0.1

    def __init__(self, window_s: float = 60.0, settle_s: float = 2.0) -> None:
        self._window_s, self._settle_s = window_s, settle_s
        self._marks: deque[tuple[float, float]] = deque()  # (time, units completed by then)

    def add(self, done: float, now: float) -> None:
        """Record that `done` units in all are completed at the time `now`, in seconds."""
        marks = self._marks
        if len(marks) > 1 and now - marks[-2][0] < self._APART_S:
            marks[-1] = (now, done)
        else:
            marks.append((now, done))
        while len(marks) > 2 * self._FEWEST and marks[1][0] < now - self._window_s:
            marks.popleft()

    def rate(self, now: float) -> float | None:
        """Units per second; None while there are too few completions."""
        if len(self._marks) < self._FEWEST:
            return None
        (start, before), (end, done) = self._marks[0], self._marks[-1]
        span = end - start
        if span < self._settle_s or done <= before:
            return None
        usual_gap = span / (len(self._marks) - 1)
        overdue = max(now - end - usual_gap, 0.0)
        return (done - before) / (span + overdue)


class ProgressLines:
    """The plain lines of one piece of work.

    Args:
        what: What is being done, in a few words.
        total: Units in all; None where unknown.
        unit: Plural name of a unit, such as `chains`.
        every_s: Seconds before the first line and, at least, between two lines.
        show: Takes each line.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        what: str,
        total: float | None,
        unit: str,
        every_s: float = _EVERY_S,
        show: Callable[[str], None] = show_line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._unit = one_line(what), total, unit
        self._every_s, self._show, self._clock = every_s, show, clock
        self._pace, self._lock = Pace(), threading.Lock()
        self._done = 0.0
        self._start = self._last_line = self._last_unit = clock()

    def __call__(self, amount: float = 1) -> None:
        """Advance by `amount` units, and show a line where one is due and the rate is known."""
        with self._lock:
            now = self._last_unit = self._clock()
            self._done += amount
            self._pace.add(self._done, now)
            self._show_due(now)

    def tick(self) -> None:
        """Show a line if one is due; to be called about every second, while units are being worked on."""
        with self._lock:
            now = self._clock()
            if now - self._last_unit < _HEARTBEAT_S:
                self._show_due(now)
            elif now - self._last_line >= max(self._gap(now), _HEARTBEAT_S):
                self._show_now(now)

    def state(self) -> str:
        """How far the work is, with its rate and the time left where they are known."""
        now = self._clock()
        done, rate = f"{self._done:,.0f}", self._pace.rate(now)
        if self._total:
            done += f"/{self._total:,.0f} {self._unit} ({100 * self._done / self._total:.0f} %)"
        else:
            done += f" {self._unit}"
        if rate is None:
            return f"{done}, {duration(now - self._start)} so far"
        speed = f"{rate:.3g} {self._unit}/s" if rate < 100 else f"{rate:,.0f} {self._unit}/s"
        if not self._total:
            return f"{done}, {speed}"
        return f"{done}, {speed}, {duration((self._total - self._done) / rate)} left"

    def summary(self) -> str:
        """The last line: how much was done in which time."""
        seconds = self._clock() - self._start
        spent = f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
        return f"{self._what}: {self._done:,.0f} {self._unit} in {spent}"

    def _show_due(self, now: float) -> None:
        if now - self._last_line >= self._gap(now) and self._pace.rate(now) is not None:
            self._show_now(now)

    def _show_now(self, now: float) -> None:
        self._last_line = now
        self._show(f"{self._what}: {self.state()}")

    def _gap(self, now: float) -> float:
        return max(self._every_s, min((now - self._start) / 10, _MOST_S))


@contextmanager
def progress(what: str, total: float | None, unit: str, every_s: float = _EVERY_S) -> Iterator[Advance]:
    """Show how far a piece of work has come.

    Args:
        what: What is being done, in a few words.
        total: Units in all; None where unknown.
        unit: Plural name of a unit, such as `chains`.
        every_s: Seconds before the first plain line and, at least, between two.

    Yields:
        A function to call with the number of units just completed.
    """
    console = _console()
    lines = ProgressLines(what, total, unit, every_s, show=log_line if console else show_line)
    with _ticking(lines), _bar(lines, what, total, console) if console else nullcontext(lines) as advance:
        yield advance
    show_line(lines.summary())


@contextmanager
def _bar(lines: ProgressLines, what: str, total: float | None, console: Any) -> Iterator[Advance]:
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
    )
    bar = Progress(*columns, console=console, transient=True, redirect_stderr=False)
    task = bar.add_task(escape(one_line(what)), total=total, state=lines.state())

    def advance(amount: float = 1) -> None:
        lines(amount)
        bar.update(task, advance=amount, state=lines.state())

    with _shown(bar, console):
        yield advance


@contextmanager
def _ticking(lines: ProgressLines) -> Iterator[None]:
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(_TICK_S):
            lines.tick()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
