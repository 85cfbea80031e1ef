"""The Pareto plot: score against trained parameters, with intervals, coloured by how many blocks are trained.

Flow: trial_rows -> [this] -> pareto.png.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liftray.reporting import pictures
from liftray.reporting.pictures import INK, PALE
from liftray.search.objectives import OBJECTIVES, Objective
from liftray.search.trial_rows import TrialRow

_MARKERS = "osD^vPX<>"


def draw(path: Path, rows: Sequence[TrialRow], objective: Objective, best: int) -> None:
    """Draw the trials.

    Args:
        path: PNG or SVG file.
        rows: Those with a score are shown; those that were stopped early as small open marks.
        objective: The score.
        best: Number of the best trial.
    """
    size = OBJECTIVES["parameters"]
    shown = [row for row in rows if None not in (size.of(row.trial), objective.of(row.trial))]
    figure, axes = pictures.new_figure(8.2, 4.6)
    colors = _colors(sorted({row.blocks for row in shown}))
    markers = dict(zip(dict.fromkeys(row.kind for row in shown), _MARKERS * 9, strict=False))
    for row in shown:
        _draw_one(axes, row, objective, colors[row.blocks], markers[row.kind])
    line = sorted(_place(row, objective) for row in shown if row.on_front and row.compared is not None)
    axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=0.8, zorder=1)
    for row in shown:
        if row.on_front or row.trial.number == best:
            axes.annotate(
                f"{row.trial.number}", _place(row, objective), (5, 5), textcoords="offset points", size=8,
                color=INK, weight="bold" if row.trial.number == best else "normal",
            )  # fmt: skip
    _legend(axes, shown, colors, markers)
    pictures.clean(axes, grid="both")
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel(size.title, color=PALE)
    axes.set_ylabel(objective.title, color=PALE)
    pictures.title(
        axes,
        "Score against size; bars are 95 % intervals over chains, numbers name trials that no other beats",
        size=9,
    )
    pictures.save(figure, path)


def _place(row: TrialRow, objective: Objective) -> tuple[float, float]:
    score = row.compared.score if row.compared is not None else objective.of(row.trial)
    return OBJECTIVES["parameters"].of(row.trial) or 0.0, 100 * (score or 0.0)


def _draw_one(axes: Any, row: TrialRow, objective: Objective, color: Any, marker: str) -> None:
    x, y = _place(row, objective)
    if row.compared is None:
        axes.plot(x, y, marker, color=color, markerfacecolor="none", markersize=4.5, zorder=2)
        return
    if row.compared.ci95 is not None:
        bounds = [100 * bound for bound in row.compared.ci95]
        axes.plot([x, x], bounds, color=color, linewidth=1, alpha=0.6, zorder=2)
    edge = INK if row.on_front else "white"
    axes.plot(x, y, marker, color=color, markersize=7.5, markeredgecolor=edge, markeredgewidth=1, zorder=3)


def _colors(blocks: Sequence[int]) -> dict[int, Any]:
    from matplotlib import colormaps

    ramp = colormaps["viridis"]
    return {number: ramp(0.9 * at / max(1, len(blocks) - 1)) for at, number in enumerate(blocks)}


def _legend(axes: Any, shown: Sequence[TrialRow], colors: dict[int, Any], markers: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    entries = [Line2D([], [], marker="o", linestyle="", color=color) for color in colors.values()]
    names = [f"{number} block{'s' * (number != 1)} trained" for number in colors]
    if len(markers) > 1:
        entries += [Line2D([], [], marker=mark, linestyle="", color=PALE) for mark in markers.values()]
        names += list(markers)
    if any(row.compared is None for row in shown):
        entries.append(
            Line2D([], [], marker="o", linestyle="", color=PALE, markerfacecolor="none", markersize=4.5)
        )
        names.append("not finished")
    axes.legend(entries, names, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
