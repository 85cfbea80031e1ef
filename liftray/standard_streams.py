"""`-` as an input or an output: standard input and standard output.

Invariant: what reads a file twice reads a copy of standard input; nothing but the result goes to standard output.
Used by jobs and the public functions.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from liftray import limits
from liftray.errors import DataError, InputError

MARK = "-"
_FOLDER, _NAME = "liftray-stdin-", "stdin"
_PIECE = 1 << 20


@contextmanager
def inputs(paths: Sequence[str | os.PathLike[str]]) -> Iterator[list[str]]:
    """Replace `-` by a temporary copy of standard input, for as long as the block lasts.

    Args:
        paths: Files; `-` at most once.

    Raises:
        DataError: `-` comes twice, standard input is closed, or it has more bytes than `limits` allows.
    """
    names = [os.fspath(path) for path in paths]
    if MARK not in names:
        yield names
        return
    if names.count(MARK) > 1:
        raise DataError("standard input twice", where=MARK, remedy="name it once")
    with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        copy = Path(folder, _NAME)
        _copy_to(copy)
        yield [str(copy) if name == MARK else name for name in names]


def shown(path: str | os.PathLike[str]) -> str:
    """The name of an input for people: `stdin` for the copy that `inputs` made."""
    place = Path(path)
    is_copy = place.name == _NAME and place.parent.name.startswith(_FOLDER)
    return _NAME if is_copy else os.fspath(path)


def as_argument(path: str | os.PathLike[str]) -> str:
    """The name of an input as the user gave it."""
    return MARK if shown(path) == _NAME else os.fspath(path)


@contextmanager
def directory(out: str) -> Iterator[str]:
    """The directory of the results: for `-` a temporary one, whose result `send` passes on."""
    if out != MARK:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="liftray-stdout-") as folder:
        yield folder


def send(path: Path) -> None:
    """Write a file to standard output."""
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()


def _copy_to(path: Path) -> None:
    if sys.stdin is None or sys.stdin.closed:
        raise DataError("standard input is closed", where=MARK, remedy="pipe a file into the command")
    size = 0
    try:
        with path.open("wb") as file:
            while piece := sys.stdin.buffer.read(_PIECE):
                size += len(piece)
                if size > limits.STREAMED_BYTES:
                    most = f"{limits.STREAMED_BYTES >> 30} GiB"
                    raise DataError(f"standard input is over {most}", where=MARK, remedy="split it")
                file.write(piece)
    except OSError as error:
        raise InputError(
            f"standard input cannot be copied ({error.strerror})",
            where=str(path),
            remedy="free space there, or set TMPDIR",
        ) from error
