"""The Pareto plot: score against trained parameters, with intervals, coloured by how many blocks are trained.

Invariant: nothing global is touched (no pyplot, no rcParams). Flow: report -> [this] -> pareto.png.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray.search.objectives import OBJECTIVES, Objective

if TYPE_CHECKING:
    from liftray.search.search_report import Found

_INK, _PALE, _GRID = "#222222", "#666666", "#E4E4E4"
_MARKERS = "osD^vPX<>"


def draw(path: Path, trials: "Sequence[Found]", objective: Objective, best: int) -> None:
    """Draw the trials.

    Args:
        path: PNG or SVG file.
        trials: Those with a score are shown; those that were stopped early as small open marks.
        objective: The score.
        best: Number of the best trial.
    """
    from matplotlib.figure import Figure

    size = OBJECTIVES["parameters"]
    shown = [one for one in trials if None not in (size.of(one.trial), objective.of(one.trial))]
    figure = Figure(figsize=(8.2, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    colors = _colors(sorted({one.blocks for one in shown}))
    markers = dict(zip(dict.fromkeys(one.kind for one in shown), _MARKERS * 9, strict=False))
    for one in shown:
        _draw_one(axes, one, objective, colors[one.blocks], markers[one.kind])
    line = sorted(_at(one, objective) for one in shown if one.on_front and one.weighed is not None)
    axes.plot([x for x, _ in line], [y for _, y in line], color=_INK, linewidth=0.8, zorder=1)
    for one in shown:
        if one.on_front or one.trial.number == best:
            axes.annotate(
                f"{one.trial.number}", _at(one, objective), (5, 5), textcoords="offset points", size=8,
                color=_INK, weight="bold" if one.trial.number == best else "normal",
            )  # fmt: skip
    _legend(axes, shown, colors, markers)
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel(size.title, color=_PALE)
    axes.set_ylabel(objective.title, color=_PALE)
    axes.set_title(
        "Score against size; bars are 95 % intervals over chains, numbers name trials that no other beats",
        size=9, loc="left", color=_INK,
    )  # fmt: skip
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _at(one: "Found", objective: Objective) -> tuple[float, float]:
    score = one.weighed.score if one.weighed is not None else objective.of(one.trial)
    return OBJECTIVES["parameters"].of(one.trial) or 0.0, 100 * (score or 0.0)


def _draw_one(axes: Any, one: "Found", objective: Objective, color: Any, marker: str) -> None:
    x, y = _at(one, objective)
    if one.weighed is None:
        axes.plot(x, y, marker, color=color, markerfacecolor="none", markersize=4.5, zorder=2)
        return
    if one.weighed.ci95 is not None:
        bounds = [100 * bound for bound in one.weighed.ci95]
        axes.plot([x, x], bounds, color=color, linewidth=1, alpha=0.6, zorder=2)
    edge = _INK if one.on_front else "white"
    axes.plot(x, y, marker, color=color, markersize=7.5, markeredgecolor=edge, markeredgewidth=1, zorder=3)


def _colors(blocks: Sequence[int]) -> dict[int, Any]:
    from matplotlib import colormaps

    ramp = colormaps["viridis"]
    return {number: ramp(0.9 * at / max(1, len(blocks) - 1)) for at, number in enumerate(blocks)}


def _legend(axes: Any, shown: "Sequence[Found]", colors: dict[int, Any], markers: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    entries = [Line2D([], [], marker="o", linestyle="", color=color) for color in colors.values()]
    names = [f"{number} block{'s' * (number != 1)} trained" for number in colors]
    if len(markers) > 1:
        entries += [Line2D([], [], marker=mark, linestyle="", color=_PALE) for mark in markers.values()]
        names += list(markers)
    if any(one.weighed is None for one in shown):
        entries.append(
            Line2D([], [], marker="o", linestyle="", color=_PALE, markerfacecolor="none", markersize=4.5)
        )
        names.append("not finished")
    axes.legend(entries, names, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
