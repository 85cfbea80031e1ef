"""How all pictures look, and how they are put into pages.

Invariant: nothing global is touched (no pyplot, no rcParams), so pictures can be drawn in any thread. The suffix of the
path (.png, .svg) decides the format, and the same data give the same PNG.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK, PALE, GRID = "#222222", "#666666", "#E4E4E4"
ORANGE, BLUE = "#D55E00", "#0072B2"
"""Two colours of Okabe & Ito's palette, which differ for any colour vision."""

_DPI = 150


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its words.

    Attributes:
        file: PNG file.
        caption: What it is, under it.
        alt: What it shows, for those who cannot see it.
    """

    file: Path
    caption: str
    alt: str


def new_figure(width: float, height: float, columns: int = 1) -> Any:
    """A matplotlib figure and its axes.

    Args:
        width: Inches.
        height: Inches.
        columns: Axes side by side; with more than one, an array of them is returned.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    return figure, figure.subplots(1, columns)


def clean(axes: Any, *, grid: str = "y") -> None:
    """Take away what distracts from the data.

    Args:
        axes: Matplotlib axes.
        grid: `x`, `y` or `both`: which grid lines are shown.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=PALE, labelsize=8)


def title(axes: Any, text: str, size: float = 10) -> None:
    """A title above axes; names of users are never read as TeX."""
    axes.set_title(text, size=size, loc="left", color=INK, parse_math=False)


def save(figure: Any, path: str | Path) -> None:
    """Write a figure without the date of its making."""
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)


def embedded(file: Path) -> str:
    """A PNG file as a data URI, for a page that refers to nothing outside itself."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
