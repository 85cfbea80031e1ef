"""Pictures of a run: learning curve, confusion matrix, reliability curve, and scores of the chains.

Invariant: the same data give the same PNG. Flow: scores -> [this] -> run directory, MLflow, evaluation report.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from liftray.errors import DataError
from liftray.evaluate.cartoon import HELIX, STRAND, chain_cartoon
from liftray.reporting import pictures
from liftray.reporting.pictures import INK, PALE

__all__ = [
    "chain_cartoon", "chain_histogram", "chain_scatter", "confusion_matrix", "learning_curve", "reliability_curve",
]  # fmt: skip

_NAME_LETTERS = 26
_BLUES = LinearSegmentedColormap.from_list("liftray", ["#FFFFFF", "#9CC9E6", STRAND, "#00324F"])


def learning_curve(history: Sequence[Mapping[str, float]], path: str | Path, *, score: str = "q3") -> None:
    """Training loss and validation score by epoch, the best epoch marked.

    Args:
        history: One row an epoch: `epoch`, `loss` (training, per labelled residue) and the score (fraction,
            validation).
        path: PNG or SVG file.
        score: Key of the validation score.

    Raises:
        DataError: No epoch.
    """
    if not history:
        raise DataError("no epoch to draw a learning curve of")
    epochs = [row["epoch"] for row in history]
    percent = [100 * row[score] for row in history]
    figure, (left, right) = pictures.new_figure(7.2, 2.9, columns=2)
    for axes, values, color, title in (
        (left, [row["loss"] for row in history], HELIX, "training loss (nats a residue)"),
        (right, percent, STRAND, f"validation {_title(score)} (%)"),
    ):
        pictures.clean(axes)
        axes.plot(epochs, values, color=color, linewidth=2, marker="o", markersize=4)
        pictures.title(axes, title)
        axes.set_xlabel("epoch", color=PALE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(y=0.16)
    best = int(np.argmax(percent))
    right.plot(epochs[best], percent[best], marker="o", markersize=9, markerfacecolor="none", color=INK)
    right.annotate(
        f"best {percent[best]:.2f}", (epochs[best], percent[best]), (0, 9), textcoords="offset points",
        ha="center" if 0 < best < len(epochs) - 1 else "right" if best else "left", size=8, color=INK,
    )  # fmt: skip
    pictures.save(figure, path)


def confusion_matrix(scores: Mapping[str, Any], path: str | Path, *, title: str = "") -> None:
    """True against predicted states: colour and per cent of the true state's residues, and the count.

    Args:
        scores: What `score_set` returns.
        path: PNG or SVG file.
        title: Above the matrix, such as the set's name.
    """
    states = scores["confusion"]["states"]
    counts_CC = np.array(scores["confusion"]["counts"], dtype=float)
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    side = 1.4 + 0.62 * len(states)
    figure, axes = pictures.new_figure(side + 0.8, side)
    image = axes.imshow(100 * share_CC, cmap=_BLUES, vmin=0, vmax=100)
    for row, column in np.ndindex(*counts_CC.shape):
        if counts_CC[row, column]:
            color = "white" if share_CC[row, column] > 0.45 else INK
            share, count = f"{100 * share_CC[row, column]:.0f}", f"{int(counts_CC[row, column]):,}"
            axes.text(column, row - 0.12, share, ha="center", va="center", size=10, color=color)
            axes.text(column, row + 0.25, count, ha="center", va="center", size=5.5, color=color)
    names = [f"{int(n):,}   {s}" for s, n in zip(states, counts_CC.sum(axis=1), strict=True)]
    axes.set_yticks(range(len(states)), names)
    axes.set_xticks(range(len(states)), list(states))
    axes.set_xlabel("predicted", color=PALE)
    axes.set_ylabel("true (residues, state)", color=PALE)
    pictures.title(axes, title)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(states) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(states) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=28)
    bar.set_label("% of true state", color=PALE, size=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=0)
    pictures.save(figure, path)


def chain_histogram(values_N: npt.ArrayLike, path: str | Path, *, score: str = "q3", title: str = "") -> None:
    """How the score spreads over the chains of a set.

    Args:
        values_N: (N,) fractions, such as the `q3` column of `per_protein`; NaN (no label) is left out.
        path: PNG or SVG file.
        score: The score that the values are of.
        title: Above the plot, such as the set's name.

    Raises:
        DataError: No chain with a score.
    """
    percent_N = 100 * np.asarray(values_N, dtype=float)
    percent_N = percent_N[~np.isnan(percent_N)]
    if not percent_N.size:
        raise DataError("no scored chain to draw a histogram of")
    figure, axes = pictures.new_figure(5.2, 2.9)
    pictures.clean(axes)
    low = min(20, int(percent_N.min() // 10 * 10))
    axes.hist(
        percent_N, bins=list(range(low, 101, 4 if low == 20 else 5)), color=STRAND, alpha=0.85, rwidth=0.92
    )
    mean, worst = percent_N.mean(), percent_N.min()
    axes.axvline(mean, color=HELIX, linewidth=1.8)
    axes.text(
        mean + 0.01 * (100 - low), 0.98, f"mean {mean:.1f}", transform=axes.get_xaxis_transform(),
        va="top", size=8, color=HELIX,
    )  # fmt: skip
    axes.set_xlim(low, 100)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.2)
    axes.set_xlabel(f"{_title(score)} of a chain (%)", color=PALE)
    axes.set_ylabel("chains", color=PALE)
    text = f"{percent_N.size:,} chains, worst {worst:.1f}"
    pictures.title(axes, f"{title}  ({text})" if title else text)
    pictures.save(figure, path)


def reliability_curve(scores: Mapping[str, Any], path: str | Path, *, title: str = "") -> None:
    """Accuracy against confidence, in bins of equal numbers of residues.

    Args:
        scores: What `score_set` returns.
        path: PNG or SVG file.
        title: Above the plot, such as the set's name.
    """
    bins = scores["reliability"]
    confidence_X = 100 * np.array([row["confidence"] for row in bins])
    accuracy_X = 100 * np.array([row["accuracy"] for row in bins])
    low = max(0.0, 10 * np.floor(min(confidence_X.min(), accuracy_X.min()) / 10) - 5)
    figure, axes = pictures.new_figure(4.3, 4.1)
    pictures.clean(axes, grid="both")
    axes.plot([low, 100], [low, 100], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    axes.vlines(confidence_X, confidence_X, accuracy_X, color=HELIX, linewidth=2, alpha=0.55)
    axes.plot(confidence_X, accuracy_X, color=STRAND, linewidth=1.6, marker="o", markersize=5)
    axes.set_xlim(low, 102)
    axes.set_ylim(low, 102)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence (%)", color=PALE)
    axes.set_ylabel("correct (%)", color=PALE)
    axes.text(
        0.03, 0.97, f"ECE {100 * scores['ece']:.2f} %\n{len(bins)} bins of equal mass",
        transform=axes.transAxes, va="top", size=8, color=INK, linespacing=1.5,
    )  # fmt: skip
    pictures.title(axes, title)
    pictures.save(figure, path)


def chain_scatter(
    x_N: npt.ArrayLike,
    y_N: npt.ArrayLike,
    path: str | Path,
    *,
    x_name: str,
    y_name: str = "this model",
    score: str = "q3",
    title: str = "",
) -> None:
    """One dot for each chain: a model's score against another's; above the line, the model on the y axis is better.

    Args:
        x_N: (N,) fractions of the other model; a chain that is NaN in either is left out.
        y_N: (N,) fractions of the model.
        path: PNG or SVG file.
        x_name: Name of the other model.
        y_name: Name of the model.
        score: The score that the values are of.
        title: Above the plot, such as the set's name.

    Raises:
        DataError: No chain with both scores.
    """
    both_N2 = 100 * np.stack([np.asarray(x_N, dtype=float), np.asarray(y_N, dtype=float)], axis=1)
    both_N2 = both_N2[~np.isnan(both_N2).any(axis=1)]
    if not len(both_N2):
        raise DataError("no chain with two scores to draw a scatter plot of")
    x, y = both_N2.T
    low = max(0.0, 10 * np.floor(both_N2.min() / 10))
    figure, axes = pictures.new_figure(4.3, 4.1)
    pictures.clean(axes, grid="both")
    axes.plot([low, 100], [low, 100], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    # Shape and colour both mark the side, for any colour vision and for black and white.
    for side, color, marker in ((y > x, STRAND, "o"), (y < x, HELIX, "v"), (y == x, PALE, "s")):
        axes.scatter(x[side], y[side], s=22, color=color, marker=marker, alpha=0.65, linewidth=0)
    margin = 0.02 * (100 - low)
    axes.set_xlim(low - margin, 100 + margin)
    axes.set_ylim(low - margin, 100 + margin)
    axes.set_aspect("equal")
    axes.set_xlabel(f"{_title(score)} of a chain, {_short(x_name)} (%)", color=PALE, parse_math=False)
    axes.set_ylabel(f"{_title(score)} of a chain, {_short(y_name)} (%)", color=PALE, parse_math=False)
    for at, count, align, color in (
        ((0.03, 0.97), f"{int((y > x).sum()):,} chains better", "left", STRAND),
        ((0.97, 0.06), f"{int((y < x).sum()):,} chains worse", "right", HELIX),
    ):
        axes.text(*at, count, transform=axes.transAxes, ha=align, va="top", size=8, color=color)
    pictures.title(axes, title)
    pictures.save(figure, path)


def _short(name: str) -> str:
    """A name that fits next to an axis; the end of a path is kept."""
    return name if len(name) <= _NAME_LETTERS else f"…{name[1 - _NAME_LETTERS :]}"


def _title(score: str) -> str:
    return score[0].upper() + score[1:].replace("_", " ")
