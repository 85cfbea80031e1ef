"""What a search found: a table of trials, and which of them no other beats in both score and size.

Invariant: a trial is on the front if none has at least its score with fewer trained parameters, or its size with a
better score. Flow: tune -> [this] -> trials.csv, pareto.png.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import files

SCORE, SIZE = "valid/q3", "train/parameters"


def front(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Say for each trial whether it is on the Pareto front of validation Q3 (up) and trained parameters (down).

    Args:
        rows: Trials as `summary.json` tells them; those that did not finish are on no front.

    Returns:
        One flag a trial.
    """
    points = [
        (row["metrics"][SCORE], row["metrics"][SIZE]) if row["state"] == "finished" else None for row in rows
    ]
    return [
        point is not None and not any(_beats(other, point) for other in points if other) for point in points
    ]


def write(directory: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `trials.csv` and `pareto.png`.

    Args:
        directory: Where to.
        rows: Trials as `summary.json` tells them.
    """
    on_front = front(rows)
    keys = sorted({key for row in rows for key in row["config"]})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*keys, "state", "valid_q3", "trained_parameters", "seconds", "pareto"])
    for row, flag in zip(rows, on_front, strict=True):
        metrics = row["metrics"]
        table.writerow(
            [
                *(row["config"].get(key) for key in keys),
                row["state"],
                metrics.get(SCORE),
                metrics.get(SIZE),
                round(row["seconds"], 1),
                "yes" if flag else "no",
            ]
        )
    files.write_text(directory / "trials.csv", text.getvalue())
    _draw(directory / "pareto.png", rows, on_front)


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def _draw(path: Path, rows: Sequence[Mapping[str, Any]], on_front: Sequence[bool]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    done = [(row, flag) for row, flag in zip(rows, on_front, strict=True) if row["state"] == "finished"]
    for row, flag in done:
        size, score = row["metrics"][SIZE], 100 * row["metrics"][SCORE]
        axes.plot(size, score, "o", color="#0072B2" if flag else "#BBBBBB", markersize=8 if flag else 6)
        label = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in row["config"].items())
        axes.annotate(label, (size, score), (6, 4), textcoords="offset points", size=7, color="#444444")
    best = sorted((row["metrics"][SIZE], 100 * row["metrics"][SCORE]) for row, flag in done if flag)
    axes.plot([size for size, _ in best], [score for _, score in best], color="#0072B2", linewidth=1)
    axes.set_xscale("log")
    axes.margins(x=0.18, y=0.12)
    axes.set_xlabel("trained parameters")
    axes.set_ylabel("validation Q3 (%)")
    axes.set_title("Trials, and those that no other beats (blue)", size=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
