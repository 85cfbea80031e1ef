"""Messages of libraries go to a log file while a job runs; the terminal shows the job's own lines.

Invariant: nothing that is written to stderr is lost. Ray's core is C++ and writes to the file descriptor, so the
descriptor itself is redirected, and `progress.show_line` writes to a copy of the old one. The log holds the job's own
lines as well, with their times. It starts as a temporary file, because a run directory is made only after all checks;
`keep_in` moves it there. At its end a log is plain text, also where a library wrote to the descriptor.
Flow: cli -> [this] -> progress.
"""

import faulthandler
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from liftray.plain_text import shown
from liftray.progress import send_lines_to, show_line

_STDERR = 2


class LibraryLog:
    """The log of a running job.

    Attributes:
        path: The log file; None when nothing is logged, or when the job has ended and left nothing worth keeping.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self._named = False  # the user knows where it is
        self._needed = False  # it explains a failure
        self._own_bytes = 0

    def add_traceback(self, error: Exception, *, needed: bool) -> None:
        """Write the traceback of a failure, which the terminal shows in one line.

        Args:
            error: The failure.
            needed: Keep the log after the job, also if it is a temporary file.
        """
        self._add("".join(traceback.format_exception(error)))
        self._needed = needed

    def _add_line(self, line: str) -> None:
        self._add(f"{line}\n")

    def _add(self, text: str) -> None:
        content = shown(text).encode()
        with suppress(OSError):  # a full disk stops the log, not the job
            self._own_bytes += os.write(_STDERR, content)

    def _open(self, name: str) -> None:
        file, path = tempfile.mkstemp(prefix=f"liftray-{name}-", suffix=".log")
        os.close(file)
        self.path = Path(path)
        _redirect_stderr(self.path)

    def _move(self, target: Path) -> None:
        if self.path is None or self._named:
            return
        temporary = self.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as file:
                copied = file.write(temporary.read_bytes())
            _redirect_stderr(target)
        except OSError:
            return  # the temporary file stays in use
        self.path, self._named = target, True
        with suppress(OSError):  # else the temporary file remains, with what it holds
            with target.open("ab") as file, temporary.open("rb") as rest:
                rest.seek(copied)  # what came between the two steps above
                file.write(rest.read())
            temporary.unlink()
        show_line(f"log: {target}")

    def _settle(self, failed: bool) -> None:
        """Remove a temporary log that is not needed; otherwise show its path."""
        if self.path is None or self._named or self._needed:
            return
        if failed or self.path.stat().st_size <= self._own_bytes:
            self.path.unlink()
            self.path = None
        else:
            show_line(f"log: {self.path} holds messages of libraries")

    def _make_plain(self) -> None:
        """Replace what native code and child processes wrote around `plain_text`."""
        if self.path is None:
            return
        raw = self.path.read_bytes()
        plain = shown(raw.decode(errors="backslashreplace")).encode()
        if plain != raw:
            self.path.write_bytes(plain)


_current = LibraryLog()


@contextmanager
def separated(name: str, *, enabled: bool = True) -> Iterator[LibraryLog]:
    """Send what libraries write to stderr to a log file while the block runs.

    Args:
        name: The job's name, for the name of the temporary file.
        enabled: Whether to do so; else all goes to stderr and there is no log.

    Yields:
        The log. After the block, its `path` is the file that is left.
    """
    global _current
    log = LibraryLog()
    if not enabled or sys.stderr is None:  # None: a process without stderr
        yield log
        return
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(_STDERR), "w", buffering=1, errors="backslashreplace")
    with terminal:
        try:
            log._open(name)
        except OSError:  # no place for temporary files
            yield log
            return
        _current = log
        send_lines_to(terminal, log._add_line, timestamps=not terminal.isatty())
        had_faulthandler = faulthandler.is_enabled()
        faulthandler.enable(terminal, all_threads=False)
        warn = _Warnings(logging.WARNING)
        logging.getLogger("liftray").addHandler(warn)
        failed = True
        try:
            yield log
            failed = False
        finally:
            logging.getLogger("liftray").removeHandler(warn)
            with suppress(OSError):  # a log that is gone, or a full disk, hides no error of the job
                log._settle(failed)
            with suppress(OSError):
                sys.stderr.flush()
            os.dup2(terminal.fileno(), _STDERR)
            with suppress(OSError):
                log._make_plain()
            faulthandler.disable()
            if had_faulthandler:
                faulthandler.enable(_STDERR, all_threads=False)
            send_lines_to(None, None, timestamps=False)
            _current = LibraryLog()


def keep_in(path: Path) -> None:
    """Keep the log of the running job in a file, to which it is appended, and show the user where that is.

    The first call of a job counts; without a log nothing happens.

    Args:
        path: The file, in a directory of the run's results.
    """
    _current._move(path)


class _Warnings(logging.Handler):
    """Shows LiftRay's own warnings to the user."""

    def emit(self, record: logging.LogRecord) -> None:
        show_line(f"{record.levelname.lower()}: {record.getMessage()}")


def _redirect_stderr(path: Path) -> None:
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.dup2(file, _STDERR)
    finally:
        os.close(file)
