"""`report.html`: an evaluation as one self-contained file, to be mailed, printed or put in an archive.

Invariant: no script, no address outside the file, every text from outside is escaped, and every picture says in words
what it shows. The same results give the same bytes. Flow: evaluation -> [this].
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.evaluate.calibration import NUM_BINS
from liftray.evaluate.evaluation_report import TITLES, cell, rows
from liftray.evaluate.gallery import DrawnChain
from liftray.evaluate.leakage import LEAKY_SHARE
from liftray.evaluate.metrics import LOWER_IS_BETTER, accuracy_names

_TEMPLATE = "evaluation_report.html.jinja"
_BASELINES = {"majority": "majority class", "windowed_linear": "windowed linear"}
_PAIRED = ("q9", "q8", "q3", "q3_dssp", "q3_lift", "macro_f1", "mcc", "sov99", "sov_refine", "nll", "brier")
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its words.

    Attributes:
        picture: PNG file.
        caption: What it is, under it.
        alt: What it shows, for those who cannot see it.
    """

    picture: Path
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class SetPage:
    """What the page shows of one set.

    Attributes:
        name: The set's name.
        scores: What `score_set` returns.
        figures: Its plots.
        drawn: Chains drawn.
        changed: Rows of `per_protein` with `difference`, where two models differ most.
    """

    name: str
    scores: Mapping[str, Any]
    figures: Sequence[Figure]
    drawn: Sequence[DrawnChain]
    changed: Sequence[Mapping[str, Any]]


def write(
    path: Path,
    pages: Sequence[SetPage],
    result: Mapping[str, Any],
    *,
    names: tuple[str, str],
    facts: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        pages: One for each set.
        result: What `evaluate` returns.
        names: What the model and the other model are called.
        facts: What is told of the model, by name.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"embedded": _embedded, "percent": _percent, "signed": _signed, "p": _p_value}
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    leakage = result.get("leakage") or {}
    rivals = {names[1]: result["against"]} if "against" in result else {}
    rivals |= {_BASELINES.get(name, name): sets for name, sets in result.get("baselines", {}).items()}
    header, groups = rows(result["metrics"], rivals, leakage, names[0], wide=True)
    text = environment.from_string(template).render(
        title=f"Secondary structure on {', '.join(page.name for page in pages)}",
        version=__version__,
        facts=facts,
        names=names,
        header=header,
        groups=groups,
        leakage=leakage,
        leaky_share=LEAKY_SHARE,
        paired=_paired(result.get("paired") or {}),
        pages=[(page, _state_rows(page.scores), _length_table(page.scores)) for page in pages],
        num_bins=NUM_BINS,
    )
    files.write_text(path, text)


def _paired(paired: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Set -> rows of the comparison: texts, and whether ours is better, worse, or neither for sure."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, scores in paired.items():
        tables[name] = []
        for score in _shown(_PAIRED, scores):
            row, scale = scores[score], 1 if score in LOWER_IS_BETTER else 100
            better = (row["difference"] < 0) == (score in LOWER_IS_BETTER)
            sure = row["p_holm"] < _SIGNIFICANT
            tables[name].append(
                {
                    "title": TITLES[score],
                    "difference": _signed(row["difference"], scale),
                    "interval": " to ".join(_signed(bound, scale) for bound in row["ci95"] or ()),
                    "p": _p_value(row["p"]),
                    "p_holm": _p_value(row["p_holm"]),
                    "verdict": ("better" if better else "worse") if sure else "no difference shown",
                }
            )
    return tables


def _state_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table by state, cells as text, the F1 also as a number for its bar."""
    return [
        {
            "state": state,
            "true": f"{row['true']:,}",
            "predicted": f"{row['predicted']:,}",
            "bar": f"{100 * (row['f1'] or 0):.1f}",
            "cells": [
                cell(row, score) for score in ("precision", "recall", "f1", "mcc", "sov99", "sov_refine")
            ],
        }
        for state, row in scores["per_state"].items()
    ]


def _length_table(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Header and rows of the table by length of chain."""
    shown = _shown((*accuracy_names(scores["task"]), "macro_f1", "mcc", "sov99", "sov_refine"), scores)
    titles = [f"Q3 ({scores['ss3_map']})" if score == "q3" else TITLES[score] for score in shown]
    body = [
        [
            f"{row['from']:,} and more" if row["to"] is None else f"{row['from']:,}–{row['to']:,}",
            f"{row['num_chains']:,}",
            f"{row['num_residues']:,}",
            *(cell(row, score) for score in shown),
        ]
        for row in scores["per_length"]
    ]
    return {"header": ["length", "chains", "residues", *titles], "rows": body}


def _shown(wanted: Sequence[str], scores: Mapping[str, Any]) -> list[str]:
    """Those of the scores that are there; the configured Q3 is one of the two named ones where both are."""
    return [score for score in wanted if score in scores and (score != "q3" or "q3_dssp" not in scores)]


def _embedded(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode('ascii')}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _signed(value: float, scale: float = 100) -> str:
    # A minus sign as wide as the plus sign, so that columns line up.
    return f"{scale * value:+.{2 if scale > 1 else 4}f}".replace("-", "−")


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
