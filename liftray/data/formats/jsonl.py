"""JSON lines: one object a line with the columns of `columns`, one chain each.

Invariant: every non-blank line gives one record or one BadRecord. Flow: lines -> [this] -> spelling -> validate. The
first object names the columns; letters and numbers may be texts or lists.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liftray import limits
from liftray.data.formats.columns import find_columns, has_chains, named_alphabet, normal_name
from liftray.data.formats.lines import BrokenStreamError, Line, no_records, read_lines
from liftray.data.formats.names import alphabet_in_name
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a JSON lines file, not yet validated.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: Chooses the labels.

    Yields:
        A record for each line, in file order.

    Raises:
        DataError: The file cannot be read, is empty, or its first object lacks sequence or labels.
    """
    columns = find_columns(_names(path), alphabet, str(path))
    number = 0
    try:
        for line in read_lines(path):
            if not line.text.strip():
                continue
            number += 1
            found = _object(line)
            if isinstance(found, str):
                yield BadRecord(str(path), line.number, "", "malformed-row", found)
                continue
            yield columns.record(
                {name: found.get(name) for name in columns.wanted}, path, number, line.number
            )
    except BrokenStreamError as broken:
        yield broken.bad_record(path)


def declared_alphabet(path: Path) -> str | None:
    """The richest alphabet that a key is named by, else the one in the file's name, or None."""
    return named_alphabet(_names(path)) or alphabet_in_name(path.name)


def holds_chains(text: str) -> bool:
    """Whether a line is an object with a sequence and labels."""
    found = _object(Line(1, text, False))
    return not isinstance(found, str) and has_chains(list(found))


def _names(path: Path) -> list[str]:
    try:
        first = next((line for line in read_lines(path) if line.text.strip()), None)
    except BrokenStreamError as broken:
        raise DataError(broken.detail, where=str(path), remedy="fetch the file again") from broken
    if first is None:
        raise no_records(path)
    found = _object(first)
    if isinstance(found, str):
        raise DataError(f"not JSON lines: {found}", where=str(path), remedy="give one object a line")
    return list(found)


def _object(line: Line) -> dict[str, str | None] | str:
    """The object of a line, its values as text; or what is wrong with it."""
    if line.cut:
        return "the line is longer than any chain that is taken"
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return f"no JSON ({str(error)[:100]})"
    if not isinstance(found, dict):
        return "no JSON object"
    if len(found) > limits.COLUMNS:
        return f"{len(found):,} keys; {limits.COLUMNS:,} is the most"
    names = [normal_name(name) for name in found]
    if len(set(names)) < len(names):
        return "a key comes twice (case, blanks and hyphens do not count)"
    return {name: _text(value) for name, value in zip(names, found.values(), strict=True)}


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return None if value is None or isinstance(value, dict) else str(value)
