"""The plots of a study: a forest of arms, each sweep step by step, and score against trained parameters.

Invariant: every mark has its 95 % interval, and validation and the deciding set have the same colours in all plots;
nothing global is touched (no pyplot, no rcParams). Flow: findings -> [this] -> PNG files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray.study.claims import POOLED, VALIDATION

_INK, _PALE, _GRID = "#222222", "#666666", "#E4E4E4"
_COLORS = {VALIDATION: "#999999", POOLED: "#0072B2"}
_ROW_INCH = 0.3
# How far above or below its point a name may stand, in points.
_REACH = 80

Findings = Mapping[str, Any]


def draw(findings: Findings, directory: Path, stem: str) -> list[dict[str, str]]:
    """Draw all plots.

    Args:
        findings: As `findings.gather` gives them.
        directory: Where to.
        stem: What file names begin with.

    Returns:
        Of each: `file` (its name), `caption`, `alt` (what it shows, in words).
    """
    score = findings["scores"][0].upper()
    shown = " and ".join(shown_sets(findings))
    found = [
        {
            "file": f"{stem}-forest.png",
            "caption": f"{score} of each arm, mean over seeds, with its 95 % interval over chains. Baselines without a "
            "backbone are in the tables: they lie too far below to be drawn beside.",
            "alt": f"{score} of all arms on {shown}, one row an arm; the numbers are in the tables.",
        },
        {
            "file": f"{stem}-size.png",
            "caption": f"{score} against trained parameters, the head's included (logarithmic).",
            "alt": f"{score} of all arms on {shown_sets(findings)[-1]} over their trained parameters; the numbers are "
            "in the tables.",
        },
    ]
    _forest(directory / found[0]["file"], findings)
    _sizes(directory / found[1]["file"], findings)
    for name, claim in findings["claims"].items():
        if claim.get("steps"):
            arms = claim["arms"]
            file = f"{stem}-{_safe(name)}.png"
            _sweep(directory / file, findings, arms)
            found.append(
                {
                    "file": file,
                    "caption": f"{name}: {score} step by step, with 95 % intervals over chains; each seed a dot.",
                    "alt": f"{score} of {', '.join(arms)} on {shown}; the numbers are in the tables.",
                }
            )
    return found


def shown_sets(findings: Findings) -> list[str]:
    """Validation, and all test sets as one where there are any."""
    return [name for name in (VALIDATION, POOLED) if name in findings["sets"]]


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _forest(path: Path, findings: Findings) -> None:
    rows = [(group, arm) for group, arms in findings["groups"].items() for arm in arms]
    figure, axes = _figure(8.2, 1.4 + _ROW_INCH * len(rows))
    told, sets = findings["arms"], shown_sets(findings)
    for place, (_, arm) in enumerate(rows):
        for shift, name in enumerate(sets):
            at = place + 0.2 * (shift - (len(sets) - 1) / 2)
            _mark(axes, told[arm]["scores"][name], findings["scores"][0], at, name, across=True)
    for place in range(1, len(rows)):
        if rows[place][0] != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=_PALE, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [arm for _, arm in rows], size=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{findings['scores'][0].upper()} (%)", color=_PALE)
    _finish(figure, axes, path, sets)


def _sizes(path: Path, findings: Findings) -> None:
    figure, axes = _figure(8.2, 4.6)
    score, name = findings["scores"][0], shown_sets(findings)[-1]
    places = {}
    for arm, one in findings["arms"].items():
        trained = one["parameters"]["trained"]
        _mark(axes, one["scores"][name], score, trained, name)
        places[arm] = (trained, 100 * one["scores"][name][score])
    axes.set_xscale("log")
    axes.set_xlabel("trained parameters", color=_PALE)
    axes.set_ylabel(f"{score.upper()} (%)", color=_PALE)
    _name(figure, axes, places)
    _finish(figure, axes, path, [name])


def _name(figure: Any, axes: Any, places: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, each at the nearest height at which it covers no other name."""
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    taken: list[Any] = []
    for name, place in sorted(places.items(), key=lambda one: -one[1][1]):
        beside = {"textcoords": "offset points", "size": 6.5, "color": _PALE, "va": "center"}
        text = axes.annotate(name, place, (7, 0), **beside)
        box = text.get_window_extent()
        heights = sorted(range(-_REACH, _REACH + 1), key=abs)
        free = (
            at for at in heights if not any(box.translated(0, at * pixels).overlaps(one) for one in taken)
        )
        rise = next(free, 0)
        taken.append(box.translated(0, rise * pixels))
        if rise:
            text.remove()
            line = {"arrowstyle": "-", "color": _GRID, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            axes.annotate(name, place, (7, rise), arrowprops=line, **beside)


def _sweep(path: Path, findings: Findings, arms: Sequence[str]) -> None:
    figure, axes = _figure(8.2, 4.2)
    score, sets = findings["scores"][0], shown_sets(findings)
    for shift, name in enumerate(sets):
        told = [findings["arms"][arm]["scores"][name] for arm in arms]
        places = [place + 0.12 * (shift - (len(sets) - 1) / 2) for place in range(len(arms))]
        axes.plot(places, [100 * one[score] for one in told], color=_COLORS[name], linewidth=1, zorder=1)
        for place, one in zip(places, told, strict=True):
            _mark(axes, one, score, place, name)
            seeds = [100 * value for value in one[f"{score}_by_seed"]]
            axes.plot([place + 0.05] * len(seeds), seeds, ".", color=_INK, markersize=3, zorder=4)
    axes.set_xticks(range(len(arms)), arms, size=8)
    axes.set_ylabel(f"{score.upper()} (%)", color=_PALE)
    _finish(figure, axes, path, sets)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, figure.subplots()


def _mark(
    axes: Any, scores: Mapping[str, Any], score: str, at: float, name: str, *, across: bool = False
) -> None:
    """One score with its interval, up, or across for a forest."""
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
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
