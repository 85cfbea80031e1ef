"""Where observed residues stand in the full sequence that the file states.

Invariant: rows rise, each residue fits the name at its row, and among the ways to place them the one that follows the
author's numbers best is taken. Flow: `runs` -> [this] -> `chains`.

Method: if one shift of the author's numbers fits all residues, it is taken. Else the residues are parted into islands
(by chain breaks and jumps of the numbers), and dynamic programming places these: two neighbours should be as far
apart as their numbers say, or adjacent if a peptide bond joins them.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from liftray.data.formats.structures.residue_names import fits
from liftray.data.formats.structures.runs import Residue, bonded

_CANDIDATES = 256
_MAX_WORK = 200_000_000  # islands times rows: about two seconds
_LARGEST_NUMBER = 10_000_000
_BROKEN_BOND = 1000.0

Rows = npt.NDArray[np.int64]


def place(residues: Sequence[Residue], full: Sequence[str]) -> list[int] | None:
    """Rows of the observed residues in the full sequence; None where they do not fit it.

    Args:
        residues: n observed residues.
        full: L names of the full polymer, `A,B` for alternatives at one place.

    Returns:
        n rows, rising.
    """
    stated = [one.row for one in residues]
    if all(row is not None for row in stated):
        rows = [row for row in stated if row is not None]
        rising = all(a < b for a, b in pairwise(rows))
        if (
            rising
            and rows[0] >= 0
            and rows[-1] < len(full)
            and all(map(_fits, residues, (full[row] for row in rows)))
        ):
            return rows
    if len(residues) > len(full):
        return None
    fit = _fit_table(residues, full)
    numbers = _numbers(residues)
    rows_n = _by_one_shift(fit, numbers)
    return _by_islands(residues, fit, numbers) if rows_n is None else rows_n.tolist()


def _fits(residue: Residue, names: str) -> bool:
    return any(fits(residue.name, name) for name in names.split(","))


class _FitTable:
    """Which observed residue fits which row, by kinds of names: (n,) and (L,) codes and a small table of both."""

    def __init__(self, observed: Rows, stated: Rows, table: npt.NDArray[np.bool_]) -> None:
        self.observed, self.stated, self.table = observed, stated, table

    def starts(self, first: int, last: int) -> Rows:
        """Rows at which the residues `first` to `last` (without it) fit without a gap."""
        count = len(self.stated) - (last - first) + 1
        rows = np.arange(max(count, 0))
        for i in range(first, last):
            if not rows.size:
                break
            rows = rows[self.table[self.observed[i], self.stated[rows + (i - first)]]]
        return rows

    def all_fit(self, rows: Rows) -> bool:
        """Whether every residue fits its row."""
        return bool(self.table[self.observed, self.stated[rows]].all())


def _fit_table(residues: Sequence[Residue], full: Sequence[str]) -> _FitTable:
    ours = {name: code for code, name in enumerate(dict.fromkeys(one.name for one in residues))}
    theirs = {name: code for code, name in enumerate(dict.fromkeys(full))}
    table = np.array([[any(fits(a, b) for b in names.split(",")) for names in theirs] for a in ours])
    observed = np.array([ours[one.name] for one in residues])
    return _FitTable(observed, np.array([theirs[name] for name in full]), table)


def _numbers(residues: Sequence[Residue]) -> Rows | None:
    """(n,) the author's numbers without insertion codes; None where one is not written in digits, or is too large."""
    try:
        numbers = [int(one.number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) for one in residues]
    except ValueError:
        return None
    return np.array(numbers) if all(abs(number) < _LARGEST_NUMBER for number in numbers) else None


def _by_one_shift(fit: _FitTable, numbers: Rows | None) -> Rows | None:
    """Rows by the author's numbers less one constant; None where no constant fits."""
    if numbers is None or (np.diff(numbers) <= 0).any():
        return None
    first = numbers - numbers[0]
    starts = np.arange(max(len(fit.stated) - int(first[-1]), 0))
    for i, step in enumerate(first.tolist()):
        if not starts.size:
            return None
        starts = starts[fit.table[fit.observed[i], fit.stated[starts + step]]]
    if not starts.size:
        return None
    # Number 1 is usually the first residue; of several shifts the one nearest to that is taken.
    return first + starts[np.argmin(np.abs(starts - (numbers[0] - 1)))]


def _by_islands(residues: Sequence[Residue], fit: _FitTable, numbers: Rows | None) -> list[int] | None:
    """Rows by dynamic programming over islands; None where they fit in no order-keeping way."""
    edges = [0, *_edges(residues, numbers), len(residues)]
    islands = list(pairwise(edges))
    if len(islands) * len(fit.stated) > _MAX_WORK:
        return None
    best: list[tuple[Rows, npt.NDArray[np.float64], Rows]] = []
    for k, (first, last) in enumerate(islands):
        rows = fit.starts(first, last)
        if not k:
            ahead = numbers[0] - 1 if numbers is not None else 0
            rows = _nearest(rows, ahead)
            cost, origin = 1e-3 * np.minimum(np.abs(rows - ahead), 1000.0), np.zeros_like(rows)
        else:
            before, paid, _ = best[-1]
            length = first - islands[k - 1][0]
            wanted = _wanted_gap(residues, numbers, first)
            rows = _nearest(rows, int(before[np.argmin(paid)]) + length + wanted if before.size else 0)
            gap = rows[:, None] - (before + length)[None, :]
            joined = bonded(residues[first - 1], residues[first])
            step = np.abs(gap - wanted) + (_BROKEN_BOND if joined else 0.0) * (gap > 0)
            total = np.where(gap < 0, np.inf, step + paid[None, :])
            if not total.size:
                return None
            origin = total.argmin(axis=1)
            cost = total[np.arange(len(rows)), origin]
            keep = np.isfinite(cost)
            rows, cost, origin = rows[keep], cost[keep], origin[keep]
        if not rows.size:
            return None
        best.append((rows, cost, origin))
    return _trace(best, islands)


def _trace(
    best: list[tuple[Rows, npt.NDArray[np.float64], Rows]], islands: list[tuple[int, int]]
) -> list[int]:
    at = int(best[-1][1].argmin())
    rows: list[int] = []
    for (starts, _, origin), (first, last) in zip(reversed(best), reversed(islands), strict=True):
        start = int(starts[at])
        rows[:0] = range(start, start + last - first)
        at = int(origin[at])
    return rows


def _edges(residues: Sequence[Residue], numbers: Rows | None) -> list[int]:
    """Where an island starts: after a chain break, or where the numbers jump."""
    found = []
    for i in range(1, len(residues)):
        jump = numbers is not None and numbers[i] - numbers[i - 1] not in (0, 1)
        if jump or not bonded(residues[i - 1], residues[i]):
            found.append(i)
    return found


def _wanted_gap(residues: Sequence[Residue], numbers: Rows | None, first: int) -> int:
    """Unobserved residues between two islands, as the author's numbers say."""
    if numbers is None or bonded(residues[first - 1], residues[first]):
        return 0
    return max(int(numbers[first] - numbers[first - 1]) - 1, 0)


def _nearest(rows: Rows, wanted: int) -> Rows:
    """At most `_CANDIDATES` rows, those nearest to the wanted one: time stays linear for repetitive sequences."""
    if len(rows) <= _CANDIDATES:
        return rows
    near = np.argsort(np.abs(rows - wanted), kind="stable")[:_CANDIDATES]
    return np.sort(rows[near])
