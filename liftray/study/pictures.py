"""The plots of a study: a forest of arms, each sweep step by step, and score against trained parameters.

Invariant: every mark has its 95 % interval, and validation and the deciding set have the same colours in all plots.
Flow: findings -> [this] -> PNG files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray.reporting import pictures
from liftray.reporting.pictures import BLUE, GRID, INK, PALE, Picture
from liftray.study.claims import POOLED, VALIDATION

_COLORS = {VALIDATION: "#999999", POOLED: BLUE}
_ROW_INCH = 0.3
# How far above or below its point a name may be written, in points.
_REACH = 80

Findings = Mapping[str, Any]


def draw(findings: Findings, directory: Path, stem: str) -> list[Picture]:
    """Draw all plots.

    Args:
        findings: What `findings.gather` returns.
        directory: Where the files go.
        stem: Start of the file names.

    Returns:
        The pictures, in the order of the report.
    """
    score = findings["scores"][0].upper()
    shown = " and ".join(shown_sets(findings))
    drawn = [
        Picture(
            directory / f"{stem}-forest.png",
            f"{score} of each arm, mean over seeds, with its 95 % interval over chains. Baselines without a backbone "
            "are in the tables only: their scores are too low for the scale of this plot.",
            f"{score} of all arms on {shown}, one row for each arm; the numbers are in the tables.",
        ),
        Picture(
            directory / f"{stem}-size.png",
            f"{score} against trained parameters, the head's included (logarithmic).",
            f"{score} of all arms on {shown_sets(findings)[-1]} over their trained parameters; the numbers are in the "
            "tables.",
        ),
    ]
    _forest(drawn[0].file, findings)
    _sizes(drawn[1].file, findings)
    for name, claim in findings["claims"].items():
        if claim.get("steps"):
            arms = claim["arms"]
            picture = Picture(
                directory / f"{stem}-{_file_name(name)}.png",
                f"{name}: {score} step by step, with 95 % intervals over chains; each seed a dot.",
                f"{score} of {', '.join(arms)} on {shown}; the numbers are in the tables.",
            )
            _sweep(picture.file, findings, arms)
            drawn.append(picture)
    return drawn


def shown_sets(findings: Findings) -> list[str]:
    """Validation, and all test sets as one where there are any."""
    return [name for name in (VALIDATION, POOLED) if name in findings["sets"]]


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _forest(path: Path, findings: Findings) -> None:
    rows = [(group, arm) for group, arms in findings["groups"].items() for arm in arms]
    figure, axes = pictures.new_figure(8.2, 1.4 + _ROW_INCH * len(rows))
    arms, sets = findings["arms"], shown_sets(findings)
    for place, (_, arm) in enumerate(rows):
        for shift, name in enumerate(sets):
            at = place + 0.2 * (shift - (len(sets) - 1) / 2)
            _mark(axes, arms[arm]["scores"][name], findings["scores"][0], at, name, across=True)
    for place in range(1, len(rows)):
        if rows[place][0] != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=PALE, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [arm for _, arm in rows], size=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{findings['scores'][0].upper()} (%)", color=PALE)
    _finish(figure, axes, path, sets)


def _sizes(path: Path, findings: Findings) -> None:
    figure, axes = pictures.new_figure(8.2, 4.6)
    score, name = findings["scores"][0], shown_sets(findings)[-1]
    places = {}
    for arm, one in findings["arms"].items():
        trained = one["parameters"]["trained"]
        _mark(axes, one["scores"][name], score, trained, name)
        places[arm] = (trained, 100 * one["scores"][name][score])
    axes.set_xscale("log")
    axes.set_xlabel("trained parameters", color=PALE)
    axes.set_ylabel(f"{score.upper()} (%)", color=PALE)
    _write_names(figure, axes, places)
    _finish(figure, axes, path, [name])


def _write_names(figure: Any, axes: Any, places: Mapping[str, tuple[float, float]]) -> None:
    """Write names next to points, each at the nearest height at which it covers no other name."""
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    taken: list[Any] = []
    for name, place in sorted(places.items(), key=lambda one: -one[1][1]):
        style = {"textcoords": "offset points", "size": 6.5, "color": PALE, "va": "center"}
        text = axes.annotate(name, place, (7, 0), **style)
        box = text.get_window_extent()
        heights = sorted(range(-_REACH, _REACH + 1), key=abs)
        free = (
            at for at in heights if not any(box.translated(0, at * pixels).overlaps(one) for one in taken)
        )
        rise = next(free, 0)
        taken.append(box.translated(0, rise * pixels))
        if rise:
            text.remove()
            line = {"arrowstyle": "-", "color": GRID, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            axes.annotate(name, place, (7, rise), arrowprops=line, **style)


def _sweep(path: Path, findings: Findings, arms: Sequence[str]) -> None:
    figure, axes = pictures.new_figure(8.2, 4.2)
    score, sets = findings["scores"][0], shown_sets(findings)
    for shift, name in enumerate(sets):
        rows = [findings["arms"][arm]["scores"][name] for arm in arms]
        places = [place + 0.12 * (shift - (len(sets) - 1) / 2) for place in range(len(arms))]
        axes.plot(places, [100 * row[score] for row in rows], color=_COLORS[name], linewidth=1, zorder=1)
        for place, row in zip(places, rows, strict=True):
            _mark(axes, row, score, place, name)
            seeds = [100 * value for value in row[f"{score}_by_seed"]]
            axes.plot([place + 0.05] * len(seeds), seeds, ".", color=INK, markersize=3, zorder=4)
    axes.set_xticks(range(len(arms)), arms, size=8)
    axes.set_ylabel(f"{score.upper()} (%)", color=PALE)
    _finish(figure, axes, path, sets)


def _mark(
    axes: Any, scores: Mapping[str, Any], score: str, at: float, name: str, *, across: bool = False
) -> None:
    """One score with its interval, upright, or across for a forest."""
    value, bounds = 100 * scores[score], scores[f"{score}_ci95"]
    low, high = (100 * bound for bound in bounds) if bounds else (value, value)
    color = _COLORS[name]
    line: Any = ([low, high], [at, at]) if across else ([at, at], [low, high])
    axes.plot(*line, color=color, linewidth=1.1, alpha=0.7, zorder=2)
    axes.plot(*((value, at) if across else (at, value)), "o", color=color, markersize=5, zorder=3)


def _finish(figure: Any, axes: Any, path: Path, sets: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", linestyle="", color=_COLORS[name], markersize=5) for name in sets]
    axes.legend(marks, sets, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    pictures.clean(axes, grid="both")
    axes.tick_params(colors=INK)
    pictures.save(figure, path)
