"""Scores for people and programs: tables, `metrics.json`, and a table with one row for each chain.

Invariant: fractions in JSON and Parquet, per cent with two decimals in tables. Every score has its interval, every Q3
its map, every leaky set its mark. Flow: score_set and leakage -> [this] -> terminal, MLflow,
files.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.leakage import Leakage
from liftray.evaluate.metrics import FloatArray, SetStatistics, accuracy_names, collect
from liftray.evaluate.titles import BASELINE_TITLES, LEAKY_MARK, TITLES
from liftray.files import write_json
from liftray.plain_text import shown, unfiltered
from liftray.reporting import tables

SetScores = Mapping[str, Any]
"""What `score_set` returns for one set."""

_NARROW, _WIDE = ("macro_f1", "sov99"), ("macro_f1", "mcc", "sov99", "sov_refine", "ece")
_UNBOUNDED_WIDTH = 200


def render_table(
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]] | None = None,
    leakage: Mapping[str, Leakage] | None = None,
    *,
    model: str = "model",
) -> Table:
    """Table for a terminal: one row for each set and predictor, per cent ± half of the 95 % interval.

    Args:
        metrics: Set -> scores of the model.
        baselines: Baseline -> set -> scores.
        leakage: Set -> leakage; leaky sets are marked and named in the caption.
        model: Name of the model in its rows.
    """
    header, groups = rows(metrics, baselines or {}, leakage or {}, model)
    table = Table(caption=_cell(_caption(leakage or {})), caption_justify="left", header_style="bold")
    for column, title in enumerate(header):
        table.add_column(_cell(title), justify="left" if column < 2 else "right", no_wrap=True)
    for group in groups:
        for place, row in enumerate(group):
            table.add_row(
                *map(_cell, row), style="bold" if place == 0 else "dim", end_section=place == len(group) - 1
            )
    return table


def paired_lines(paired: Mapping[str, Mapping[str, Any]], other: str) -> list[str]:
    """One line for each set: how the model differs from another on the same chains, in points.

    Args:
        paired: Set -> score -> `difference`, `ci95`, `p`, and `p_holm` where it was corrected.
        other: Name of the other model.
    """
    lines = []
    for name, scores in paired.items():
        differences = [
            f"{TITLES[key]} {100 * scores[key]['difference']:+.2f} (p {_p_value(scores[key], len(paired))})"
            for key in ("q9", "q8", "q3", "macro_f1", "sov99")
            if key in scores
        ]
        lines.append(f"{name}, difference to {other} on the same chains: {', '.join(differences)}")
    return lines


def _p_value(row: Mapping[str, Any], num_sets: int) -> str:
    corrected = f", {row['p_holm']:.2g} over {num_sets} sets" if num_sets > 1 and "p_holm" in row else ""
    return f"{row['p']:.2g}{corrected}"


def _cell(text: str) -> str:
    """A text as rich prints it: no escapes and no markup of its own."""
    return escape(shown(text))


def show(table: Table) -> None:
    """Print a table: as wide as the terminal, or as wide as it needs where there is none."""
    from rich.console import Console

    console = Console(file=unfiltered(sys.stdout))
    if not console.is_terminal:
        console = Console(file=unfiltered(sys.stdout), width=_UNBOUNDED_WIDTH)
    console.print(table)


def render_markdown(
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]] | None = None,
    leakage: Mapping[str, Leakage] | None = None,
    *,
    model: str = "model",
) -> str:
    """The same table in Markdown, the model's rows in bold."""
    header, groups = rows(metrics, baselines or {}, leakage or {}, model)
    lines = []
    for model_row, *others in groups:
        lines += [[f"**{cell}**" if cell else "" for cell in model_row], *others]
    return f"{tables.markdown(header, lines, text=(0, 1))}\n\n{_caption(leakage or {})}\n"


def write_metrics(
    path: str | Path,
    metrics: Mapping[str, SetScores],
    *,
    baselines: Mapping[str, Mapping[str, SetScores]] | None = None,
    leakage: Mapping[str, Leakage] | None = None,
    paired: Mapping[str, Any] | None = None,
    against: Mapping[str, SetScores] | None = None,
) -> None:
    """Write `metrics.json`: fractions, in the shape of `score_set`; parts that were not given are omitted."""
    parts = {
        "metrics": metrics, "baselines": baselines, "leakage": leakage, "against": against, "paired": paired,
    }  # fmt: skip
    write_json(path, {name: part for name, part in parts.items() if part is not None})


def per_protein(predicted: PredictedSet, against: PredictedSet | None = None) -> pa.Table:
    """One row a chain, for `per_protein.parquet`.

    Args:
        predicted: The model's predictions.
        against: Another model's predictions of the same chains, in any order.

    Returns:
        Columns `id`, `length`, `labelled` (residues), the accuracies of the task, `sov99`, `sov_refine` (fractions)
        and `nll` (nats a residue); null where the chain has no label. With `against`, also `SCORE_against`: each score
        that both models have, of the other model.
    """
    statistics = collect(predicted)
    columns: dict[str, pa.Array] = {
        "id": pa.array(statistics.ids, pa.string()),
        "length": pa.array(statistics.lengths_N, pa.int32()),
        "labelled": pa.array(statistics.columns["labelled"][:, 0].astype(np.int32), pa.int32()),
    }
    columns |= {name: _nullable(values_N) for name, values_N in _chain_scores(statistics).items()}
    if against is not None:
        theirs = collect(against)
        place = {name: row for row, name in enumerate(theirs.ids)}
        order = np.array([place[name] for name in statistics.ids])
        for name, values_N in _chain_scores(theirs).items():
            if name in columns:
                columns[f"{name}_against"] = _nullable(values_N[order])
    return pa.table(columns)


def _chain_scores(statistics: SetStatistics) -> dict[str, FloatArray]:
    """Score -> (N,) of each chain alone, NaN where it has no label."""
    scores = statistics.scores(statistics.matrix_NK)
    return {name: scores[name] for name in (*accuracy_names(statistics.task), "sov99", "sov_refine", "nll")}


def _nullable(values_N: FloatArray) -> pa.Array:
    return pa.array(values_N, pa.float64(), from_pandas=True)


def rows(
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]],
    leakage: Mapping[str, Leakage],
    model: str,
    *,
    wide: bool = False,
) -> tuple[list[str], list[list[list[str]]]]:
    """The cells of a table as text.

    Args:
        metrics: Set -> scores of the model.
        baselines: Baseline -> set -> scores.
        leakage: Set -> leakage; leaky sets are marked.
        model: Name of the model in its rows.
        wide: Also MCC, SOV_refine and ECE, for a page; a terminal is too narrow for them.

    Returns:
        Header, and for each set its rows: the model first, then the baselines.
    """
    columns = _score_columns(metrics, _WIDE if wide else _NARROW)
    header = ["set", "predictor", *columns, "chains", "residues"]
    groups = []
    for name, scores in metrics.items():
        mark = f" {LEAKY_MARK}" if name in leakage and leakage[name]["leaky"] else ""
        predictors = [(model, scores)]
        predictors += [
            (BASELINE_TITLES.get(label, label), sets[name])
            for label, sets in baselines.items()
            if name in sets
        ]
        group = [
            ["", label, *(cell(row, key) for key in columns.values()), "", ""] for label, row in predictors
        ]
        group[0][0] = f"{name}{mark}"
        group[0][-2:] = [f"{scores['num_chains']:,}", f"{scores['num_residues']:,}"]
        groups.append(group)
    return header, groups


def cell(scores: SetScores, score: str) -> str:
    """A score in per cent with half of its interval, or a dash where there is none.

    Args:
        scores: Scores of a set, or of a class of its chains.
        score: Name of the score; `q3_dssp` and `q3_lift` are read from `q3` where that is the set's map.
    """
    if score not in scores and score == f"q3_{scores.get('ss3_map')}":
        score = "q3"
    if scores.get(score) is None:
        return tables.DASH
    interval = scores.get(f"{score}_ci95")
    spread = f" ±{50 * (interval[1] - interval[0]):.2f}" if interval else ""
    return f"{tables.percent(scores[score])}{spread}"


def _score_columns(metrics: Mapping[str, SetScores], further: tuple[str, ...]) -> dict[str, str]:
    """Title -> score; a Q3 is named with its map."""
    columns: dict[str, str] = {}
    for scores in metrics.values():
        own = ("q9", "q8", "q3_dssp", "q3_lift") if "q9" in scores else (f"q3_{scores['ss3_map']}",)
        if "q8" in scores and "q9" not in scores:
            own = ("q8", *own)
        columns |= {TITLES[score]: score for score in own}
    return columns | {TITLES[score]: score for score in further}


def _caption(leakage: Mapping[str, Leakage]) -> str:
    text = "Per cent, ± half of the 95 % bootstrap interval over chains."
    leaky = [f"{name} {100 * leaked['share']:.1f} %" for name, leaked in leakage.items() if leaked["leaky"]]
    if leaky:
        text += f" {LEAKY_MARK} leaky: chains that are in the training set ({', '.join(leaky)})."
    own = [f"{name} is {set_['training_set']}" for name, set_ in leakage.items() if "training_set" in set_]
    if own:
        text += f" The model was trained on these sets: {', '.join(own)}."
    return text
