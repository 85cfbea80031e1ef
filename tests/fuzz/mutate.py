"""Mutations of seeds that know lines, cells, numbers and the words of a format.

Invariant: the same random numbers give the same bytes. An input has at most `MOST_BYTES`.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

MOST_BYTES = 1 << 17
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORDS = (
    *(b"0", b"-1", b"1e999", b"NaN", b"2147483648", b"99999999999999999999", b"1" * 500, b"0x1p-3"),
    *(b"\0", b"\x1b[2J", b"\x9b31m", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae"),
    *("é".encode(), "\u2028".encode(), "\uff1d".encode(), "😀".encode()),
    *(
        b"",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b" ",
        b",",
        b";",
        b'"',
        b"'",
        b"#",
        b">",
        b"[",
        b"{",
        b":",
        b"&a",
        b"*a",
    ),
    *(b"null", b"true", b"..", b"/", b"%s", b"\\", b"\\u0000", b"\\ud800"),
)
Mutation = Callable[[Random, bytearray, Sequence[bytes]], None]


def mutate(random: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Make one input.

    Args:
        random: Decides everything.
        seeds: Valid inputs.
        words: What has a meaning in the format.

    Returns:
        A seed with one to six mutations, or a few words alone.
    """
    if random.random() < 0.02:
        return b"".join(random.choice((*_WORDS, *words)) for _ in range(random.randrange(12)))
    data = bytearray(random.choice(seeds))
    for _ in range(min(random.randint(1, 6), random.randint(1, 6))):
        if random.random() < 0.05:
            _splice(random, data, random.choice(seeds))
        else:
            random.choice(_MUTATIONS)(random, data, words)
    return bytes(data[:MOST_BYTES])


def _at(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _span(random: Random, data: bytearray) -> tuple[int, int]:
    start = _at(random, data)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 16, 64, 256)))


def _flip(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _replace_byte(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(
            (0, 1, 9, 10, 13, 32, 34, 45, 127, 128, 255, random.randrange(256))
        )


def _delete(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    start, end = _span(random, data)
    del data[start:end]


def _truncate(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    del data[_at(random, data) :]


def _repeat(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    start, end = _span(random, data)
    times = random.choice((1, 1, 2, 3, 10, 100, 1000))
    data[end:end] = bytes(data[start:end]) * min(times, MOST_BYTES // max(1, end - start))


def _insert_word(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    at = _at(random, data)
    data[at:at] = random.choice(words if words and random.random() < 0.5 else _WORDS)


def _replace_span(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    start, end = _span(random, data)
    data[start:end] = random.choice(words if words and random.random() < 0.5 else _WORDS)


def _replace_word(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    """Put one word of the format in the place of another."""
    if words:
        old = random.choice(words)
        at = data.find(old, _at(random, data)) if old else -1
        if at >= 0:
            data[at : at + len(old)] = random.choice((*words, *_WORDS))


def _replace_number(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    found = _NUMBER.search(data, _at(random, data)) or _NUMBER.search(data)
    if found:
        number = random.choice(
            (b"0", b"-1", b"1", b"2", b"255", b"65536", b"1e-7", b"1e308", b"99999999999", b"NaN")
        )
        data[found.start() : found.end()] = number


def _lines(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    lines = data.split(b"\n", 200)
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    act = random.randrange(4)
    if act == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif act == 1:
        lines.insert(other, lines[one])
    elif act == 2:
        del lines[one]
    else:
        lines[one] = lines[one] + lines[other]
    data[:] = b"\n".join(lines)


def _case(random: Random, data: bytearray, words: Sequence[bytes]) -> None:
    start, end = _span(random, data)
    data[start:end] = data[start:end].swapcase()


def _splice(random: Random, data: bytearray, other: bytes) -> None:
    start, end = _span(random, bytearray(other))
    at = _at(random, data)
    data[at : at + random.choice((0, end - start))] = other[start:end]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _replace_byte,
    _delete,
    _truncate,
    _repeat,
    _insert_word,
    _insert_word,
    _replace_span,
    _replace_word,
    _replace_number,
    _replace_number,
    _lines,
    _lines,
    _case,
)
