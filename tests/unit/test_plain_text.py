"""No text can move a cursor, change the order of letters or hide some, on a terminal or in a log."""

import io
import json

import pytest

from liftray.errors import ConfigError
from liftray.plain_text import PlainStream, one_line, shown, unfiltered

UNSAFE = [
    "\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\x90q", "\x08\x08", "\x7f", "\x00", "\r", "\u202e", "\u202a", "\u2066",
    "\u2069", "\u200e", "\u200f", "\u200b", "\u2060", "\ufeff", "\u061c", "\u2028", "\U000e0041", "\udcff", "\xad",
]  # fmt: skip


@pytest.mark.parametrize("part", UNSAFE)
def test_an_unsafe_character_is_shown_as_its_json_escape(part: str) -> None:
    safe = shown(f"a{part}b")
    assert safe.isprintable()
    assert safe.isascii()
    assert json.loads(f'"{safe}"') == f"a{part}b"
    assert shown(safe) == safe


def test_letters_line_ends_and_tabs_stay() -> None:
    text = "Ångström\tβ-Faltblatt\n螺旋 «ü» é ’ – ✓\n"
    assert shown(text) == text


def test_one_line_is_one() -> None:
    assert one_line("a\n  b\x1b\r\nc") == "a b\\u001b c"


def test_an_error_is_safe_to_show() -> None:
    error = ConfigError("no \x1b[2J such\nkey", where="x\u202e.yaml", remedy="ask https://me:secret@host")
    assert str(error) == "x\\u202e.yaml: no \\u001b[2J such key; ask https://***@host"


def test_a_stream_writes_plain_text_in_its_own_encoding() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    stream = PlainStream(file)
    assert unfiltered(stream) is file  # type: ignore[arg-type]
    print("é \x1b[31m s3://a:b@c", file=stream, flush=True)  # type: ignore[call-overload]
    stream.writelines(["x\n", "y"])
    stream.flush()
    assert raw.getvalue() == b"\\xe9 \\u001b[31m s3://***@c\nx\ny"
