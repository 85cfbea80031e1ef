"""Tables for people, and the text of numbers in them.

Invariant: scores are per cent with two decimals, and a missing value is a dash. Flow: cells -> [this] -> Markdown,
pages, terminal.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DASH = "–"
# What spreadsheets skip before they look for a formula.
_SKIPPED = re.compile(r"[\s\x00-\x1f\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\"']*")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Its heading.
        note: How to read it.
        header: Titles of its columns; the first is of text.
        rows: Cells.
    """

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def markdown(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[int] = (0,),
    padded: bool = False,
) -> str:
    """A Markdown table.

    Args:
        header: Titles of the columns.
        rows: Cells; a bar inside a cell is escaped.
        text: Places of the columns of text, which are aligned to the left; numbers are aligned to the right.
        padded: Whether cells are padded to one width, so that the table reads well on a terminal too.
    """
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) if padded else 0 for column in zip(*lines, strict=True)]
    rule = [
        "-" * max(3, width - (at not in text)) + ":" * (at not in text) for at, width in enumerate(widths)
    ]
    cells = [
        [
            cell.ljust(width) if at in text else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])


def percent(value: float | None) -> str:
    """A fraction in per cent.

    Example:
        >>> percent(0.7551)
        '75.51'
    """
    return DASH if value is None else f"{100 * value:.2f}"


def percent_between(bounds: Sequence[float] | None) -> str:
    """An interval of fractions in per cent; a dash where there is none."""
    return DASH if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign; the minus sign is as wide as the plus sign, so that columns line up."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def points(value: float) -> str:
    """A difference of two fractions in points (of per cent), with its sign."""
    return signed(100 * value)


def points_between(bounds: Sequence[float] | None) -> str:
    """An interval of differences in points; a dash where there is none."""
    return DASH if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"


def p_value(value: float | None) -> str:
    """A p-value; a dash where there is none."""
    if value is None:
        return DASH
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def csv_cell(text: str) -> str:
    """A text for a cell of a CSV file, with a `'` in front where a spreadsheet would run it as a formula.

    A formula begins with `=`, `+`, `-` or `@`, also as a full-width sign or behind blanks and invisible characters. A
    tab or a line end in front may move it to a cell of its own.

    Example:
        >>> csv_cell("=1+1"), csv_cell("1abc")
        ("'=1+1", '1abc')
    """
    first = text[_SKIPPED.match(text).end() :][:1]  # type: ignore[union-attr]  # it always matches
    risky = unicodedata.normalize("NFKC", first) in ("=", "+", "-", "@", "\u2212") or text[:1] in (
        "\t",
        "\r",
        "\n",
    )
    return f"'{text}" if risky else text


def as_text(value: Any) -> str:
    """A value of a config or of a machine as text: lists by commas, mappings as name and value."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {as_text(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(as_text, value)) or "none"
    return "none" if value is None else str(value)


def setting(value: Any) -> str:
    """A value of a setting in a narrow table: numbers with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
