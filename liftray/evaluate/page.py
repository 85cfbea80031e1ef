"""`report.html`: an evaluation as one self-contained file, to be mailed, printed or put in an archive.

Invariant: every picture has a text that describes it, and the same results give the same bytes. Flow: evaluate_job ->
[this].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from liftray import files
from liftray.evaluate.calibration import NUM_BINS
from liftray.evaluate.evaluation_report import cell, rows
from liftray.evaluate.gallery import DrawnChain
from liftray.evaluate.leakage import LEAKY_SHARE
from liftray.evaluate.metrics import LOWER_IS_BETTER, accuracy_names
from liftray.evaluate.titles import TITLES
from liftray.evaluate.verdict import SIGNIFICANT
from liftray.reporting import pages
from liftray.reporting.pictures import Picture
from liftray.reporting.tables import p_value, points, signed

_TEMPLATE = "evaluate/evaluation_report.html.jinja"
_PAIRED = ("q9", "q8", "q3", "q3_dssp", "q3_lift", "macro_f1", "mcc", "sov99", "sov_refine", "nll", "brier")


@dataclass(frozen=True, slots=True)
class SetPage:
    """The part of the page about one set.

    Attributes:
        name: The set's name.
        scores: What `score_set` returns.
        figures: Its plots.
        drawn: The chains that are drawn.
        changed: Rows of `per_protein` with `difference`, where two models differ most.
    """

    name: str
    scores: Mapping[str, Any]
    figures: Sequence[Picture]
    drawn: Sequence[DrawnChain]
    changed: Sequence[Mapping[str, Any]]


def write(
    path: Path,
    set_pages: Sequence[SetPage],
    result: Mapping[str, Any],
    *,
    names: tuple[str, str],
    facts: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        set_pages: One for each set.
        result: What `evaluate` returns.
        names: Names of the model and of the other model.
        facts: Facts about the model, by name.
    """
    leakage = result.get("leakage") or {}
    others = {names[1]: result["against"]} if "against" in result else {}
    others |= result.get("baselines", {})
    header, groups = rows(result["metrics"], others, leakage, names[0], wide=True)
    text = pages.render(
        _TEMPLATE,
        title=f"Secondary structure on {', '.join(page.name for page in set_pages)}",
        facts=facts,
        verdict=result["verdict"]["sentence"],
        names=names,
        header=header,
        groups=groups,
        leakage=leakage,
        leaky_share=LEAKY_SHARE,
        paired=_paired(result.get("paired") or {}),
        pages=[(page, _state_rows(page.scores), _length_table(page.scores)) for page in set_pages],
        num_bins=NUM_BINS,
    )
    files.write_text(path, text)


def _paired(paired: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Set -> rows of the comparison: texts, and whether the model is better, worse, or neither is shown."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, scores in paired.items():
        tables[name] = []
        for score in _shown(_PAIRED, scores):
            row = scores[score]
            # Scores that are lower for the better model are no shares of residues, so they have no points.
            text = partial(signed, decimals=4) if score in LOWER_IS_BETTER else points
            better = (row["difference"] < 0) == (score in LOWER_IS_BETTER)
            shown = row["p_holm"] < SIGNIFICANT
            tables[name].append(
                {
                    "title": TITLES[score],
                    "difference": text(row["difference"]),
                    "interval": " to ".join(text(bound) for bound in row["ci95"] or ()),
                    "p": p_value(row["p"]),
                    "p_holm": p_value(row["p_holm"]),
                    "verdict": ("better" if better else "worse") if shown else "no difference shown",
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
    """Those of the wanted scores that the set has; `q3` only where it is not one of two named ones."""
    return [score for score in wanted if score in scores and (score != "q3" or "q3_dssp" not in scores)]
