r"""Text for terminals and logs: no control characters, no marks of direction, no credentials.

Invariant: what `shown` returns moves no cursor, changes no colour, reorders no letter and hides none. Line ends and
tabs stay. Everything that a job writes to a terminal or a log passes here. Flow: any text -> [this] -> terminal, log.

Decision: a character is shown as its JSON escape, `\u001b`, so that JSON on a terminal stays JSON.
"""

import re
from collections.abc import Iterable
from typing import Any, TextIO

from liftray.redaction import redacted

# C0 without tab and line end, C1; invisible, joining and direction characters; parts of undecodable bytes; tags.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def shown(text: object) -> str:
    """The text as a terminal or a log may hold it."""
    return _UNSAFE.sub(_escape, redacted(str(text)))


def one_line(text: object) -> str:
    """Like `shown`, in one line."""
    return shown(" ".join(str(text).split()))


def unfiltered(stream: TextIO) -> TextIO:
    """The stream behind a PlainStream, for what draws with escapes of its own and is given `shown` text."""
    return stream.stream if isinstance(stream, PlainStream) else stream


class PlainStream:
    """A text stream that writes only what `shown` returns.

    Attributes:
        stream: Where it writes.
        encoding: UTF-8 in the place of ASCII: other letters are written as escapes then.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        given = getattr(stream, "encoding", None) or "utf-8"
        self._encoding, self.encoding = given, "utf-8" if "ascii" in given.lower() else given

    def write(self, text: str) -> int:
        """Write a text; returns the number of characters given."""
        if not isinstance(text, str):  # click finds out whether a stream takes bytes by writing some
            raise TypeError(f"a text stream takes no {type(text).__name__}")
        safe = shown(text)
        self.stream.write(safe.encode(self._encoding, "backslashreplace").decode(self._encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
