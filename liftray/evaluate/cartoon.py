"""A chain's secondary structure as a picture: helices as ribbons, strands as arrows, coil as a line.

Invariant: residue i is drawn at the same place in every track of its row, and nothing is drawn where there is
no label. Flow: predictions of one chain -> [this] -> gallery, quickstart.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from liftray.errors import DataError
from liftray.reporting.pictures import BLUE, INK, ORANGE, PALE, save

# The colours differ for any colour vision, and the shapes differ as well.
HELIX, STRAND, COIL = ORANGE, BLUE, "#8A8A8A"
_HELIX_BACK = "#F2A468"
_KINDS = {"H": "H", "G": "H", "I": "H", "E": "E", "B": "E", "X": "X"}
_RESIDUES_PER_TURN = 3.6
_TRACK_HEIGHT = 0.30  # of a track's element, half its height; a track is one unit high
_ARROW_HEAD = 1.6  # residues
_RESIDUE_INCHES, _TRACK_INCHES = 0.165, 0.29
_MIN_COLUMNS = 42  # room for title and legend above a short chain


def chain_cartoon(
    sequence: str,
    true_ss: str | None,
    predicted_ss: str,
    confidence: npt.ArrayLike,
    path: str | Path,
    *,
    title: str = "",
    residues_per_row: int = 60,
) -> None:
    """Draw one chain: predicted structure with its confidence, and the true structure above it.

    Args:
        sequence: L residues.
        true_ss: L labels of any alphabet, `X` where unknown (left blank); None leaves the track out.
        predicted_ss: L predicted labels.
        confidence: (L,) probability of the predicted class, 0-1.
        path: PNG or SVG file, by its suffix.
        title: Above the picture.
        residues_per_row: Where rows break.

    Raises:
        DataError: Tracks of unequal length, or an empty chain.
    """
    confidence_L = np.asarray(confidence, dtype=float)
    for name, track in (("true", true_ss), ("predicted", predicted_ss), ("confidence", confidence_L)):
        if track is not None and len(track) != len(sequence):
            raise DataError(f"{name} track of {len(track)} residues for a sequence of {len(sequence)}")
    if not sequence:
        raise DataError("an empty chain cannot be drawn")
    rows = -(-len(sequence) // residues_per_row)
    columns = min(residues_per_row, max(len(sequence), _MIN_COLUMNS))
    row_height = 4.7 if true_ss is not None else 3.6
    left, right, head = 6.5, 2.5, 2.6  # margins in residues, and in tracks above the first row
    size = (_RESIDUE_INCHES * (columns + left + right), _TRACK_INCHES * (row_height * rows + head))
    figure = Figure(figsize=size, dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for row in range(rows):
        span = range(row * residues_per_row, min((row + 1) * residues_per_row, len(sequence)))
        _draw_row(axes, -row * row_height, span, sequence, true_ss, predicted_ss, confidence_L)
    axes.set_xlim(-left, columns + right)
    axes.set_ylim(-rows * row_height, head)
    _legend(axes, title, columns, marks=true_ss is not None)
    save(figure, path)


def _draw_row(
    axes: Axes,
    top: float,
    span: range,
    sequence: str,
    true_ss: str | None,
    predicted_ss: str,
    confidence_L: npt.NDArray,
) -> None:
    width = len(span)
    true_y, predicted_y = top - 0.9, top - (1.9 if true_ss is not None else 0.9)
    for column, at in enumerate(span):
        axes.text(
            column + 0.5,
            top,
            sequence[at],
            ha="center",
            va="center",
            size=7,
            color=INK,
            family="monospace",
            parse_math=False,
        )
        if (at + 1) % 10 == 0:
            axes.text(column + 0.5, top + 0.62, str(at + 1), ha="center", va="center", size=5.5, color=PALE)
    if true_ss is not None:
        _draw_track(axes, true_ss, span, true_y)
        _label(axes, "true", true_y)
        wrong = [
            column
            for column, at in enumerate(span)
            if true_ss[at] != "X" and _kind(true_ss[at]) != _kind(predicted_ss[at])
        ]
        axes.plot(
            np.array(wrong) + 0.5, np.full(len(wrong), (true_y + predicted_y) / 2), linestyle="", marker="x",
            markersize=2.6, markeredgewidth=0.8, color=INK, zorder=5,
        )  # fmt: skip
    _draw_track(axes, predicted_ss, span, predicted_y)
    _label(axes, "predicted", predicted_y)
    base = predicted_y - 1.25
    edges = np.repeat(np.arange(width + 1), 2)[1:-1]
    heights = base + 0.75 * np.repeat(confidence_L[span.start : span.stop], 2)
    axes.fill_between(edges, base, heights, color="#009E73", alpha=0.32, linewidth=0)
    axes.plot(edges, heights, color="#009E73", linewidth=0.8)
    axes.plot([0, width], [base, base], color=PALE, linewidth=0.4)
    axes.plot([0, width], [base + 0.75] * 2, color=PALE, linewidth=0.4, linestyle=(0, (2, 3)))
    _label(axes, "confidence", base + 0.37)
    for height, text in ((base, "0"), (base + 0.75, "1")):
        axes.text(width + 0.4, height, text, ha="left", va="center", size=5, color=PALE)


def _draw_track(axes: Axes, ss: str, span: range, y: float) -> None:
    """Draw the elements of one row; one that continues in the next row has no end here."""
    start = span.start
    while start < span.stop:
        kind, stop = _kind(ss[start]), start + 1
        while stop < span.stop and _kind(ss[stop]) == kind:
            stop += 1
        left, right = start - span.start, stop - span.start
        ends = stop == len(ss) or _kind(ss[stop]) != kind
        if kind == "H":
            _helix(axes, left, right, y, phase=start)
        elif kind == "E":
            _strand(axes, left, right, y, ends)
        elif kind == "C":
            axes.plot([left, right], [y, y], color=COIL, linewidth=1.6, solid_capstyle="round", zorder=1)
        start = stop


def _helix(axes: Axes, left: float, right: float, y: float, phase: float) -> None:
    """A ribbon seen from the side: a thick wave, paler where it runs behind."""
    x = np.linspace(left, right, max(8, int((right - left) * 24)))
    angle = 2 * np.pi * (x - left + phase) / _RESIDUES_PER_TURN
    middle, thickness = y + 0.22 * np.sin(angle), 0.14
    front = np.cos(angle) >= 0
    for side, color, zorder in ((~front, _HELIX_BACK, 2), (front, HELIX, 3)):
        axes.fill_between(
            x,
            middle - thickness,
            middle + thickness,
            where=_grown(side),
            color=color,
            linewidth=0,
            zorder=zorder,
        )


def _strand(axes: Axes, left: float, right: float, y: float, ends: bool) -> None:
    head = min(_ARROW_HEAD, right - left) if ends else 0.0
    neck, half = right - head, _TRACK_HEIGHT * 0.55
    outline = [(left, y - half), (neck, y - half), (neck, y + half), (left, y + half)]
    if head:
        outline[2:2] = [(neck, y - _TRACK_HEIGHT), (right, y), (neck, y + _TRACK_HEIGHT)]
    axes.add_patch(Polygon(outline, closed=True, facecolor=STRAND, edgecolor="none", zorder=3))


def _legend(axes: Axes, title: str, width: int, marks: bool) -> None:
    y = 1.8
    axes.text(0, y, title, ha="left", va="center", size=9, weight="bold", color=INK, parse_math=False)
    _helix(axes, width - 22, width - 18.4, y, phase=0)
    _strand(axes, width - 13.5, width - 10.5, y, ends=True)
    axes.plot([width - 5, width - 2.5], [y, y], color=COIL, linewidth=1.6, solid_capstyle="round")
    for at, text in ((width - 17.8, "helix"), (width - 10, "strand"), (width - 2, "coil")):
        axes.text(at, y, text, ha="left", va="center", size=7, color=INK)
    if marks:
        axes.plot([width - 29], [y], linestyle="", marker="x", markersize=3, markeredgewidth=0.8, color=INK)
        axes.text(width - 28.3, y, "differs", ha="left", va="center", size=7, color=INK)


def _label(axes: Axes, text: str, y: float) -> None:
    axes.text(-0.8, y, text, ha="right", va="center", size=6.5, color=PALE)


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Widen each stretch by a sample on both sides, so that neighbours leave no gap."""
    padded = np.pad(mask, 1)
    return padded[:-2] | padded[1:-1] | padded[2:]


def _kind(letter: str) -> str:
    return _KINDS.get(letter, "C")
