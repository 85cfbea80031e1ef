"""Scores as people and programs read them: tables, `metrics.json`, one row a chain.

Invariant: fractions in JSON and Parquet, per cent with two decimals in tables; every score stands with its
interval, every Q3 with its map, every leaky set with its mark. Flow: score_set and leakage -> [this] ->
terminal, README, MLflow, files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.leakage import Leakage
from liftray.evaluate.metrics import accuracy_names, collect
from liftray.files import write_json

SetScores = Mapping[str, Any]
"""What `score_set` returns for one set."""

_TITLES = {"q9": "Q9", "q8": "Q8", "macro_f1": "macro-F1", "sov99": "SOV'99"}
LEAKY_MARK = "†"
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
        model: What to call the model's rows.
    """
    header, groups = rows(metrics, baselines or {}, leakage or {}, model)
    table = Table(caption=escape(_caption(leakage or {})), caption_justify="left", header_style="bold")
    for column, title in enumerate(header):
        table.add_column(title, justify="left" if column < 2 else "right", no_wrap=True)
    for group in groups:
        for place, row in enumerate(group):
            table.add_row(
                *map(escape, row), style="bold" if place == 0 else "dim", end_section=place == len(group) - 1
            )
    return table


def paired_lines(paired: Mapping[str, Mapping[str, Any]], other: str) -> list[str]:
    """Say in one line a set how the model differs from another on the same chains, in points.

    Args:
        paired: Set -> score -> `difference`, `ci95`, `p`.
        other: What the other model is called.
    """
    lines = []
    for name, scores in paired.items():
        told = [
            f"{_TITLES.get(key, key.upper())} {100 * scores[key]['difference']:+.2f} (p {scores[key]['p']:.2g})"
            for key in ("q9", "q8", "q3", "macro_f1", "sov99")
            if key in scores
        ]
        lines.append(f"{name}, difference to {other} on the same chains: {', '.join(told)}")
    return lines


def show(table: Table) -> None:
    """Print a table: as wide as the terminal, or as wide as it needs where there is none."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNBOUNDED_WIDTH)
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
    lines = [_line(header), _line(["---"] * 2 + ["---:"] * (len(header) - 2))]
    for group in groups:
        lines.append(_line([f"**{cell}**" if cell else "" for cell in group[0]]))
        lines += [_line(row) for row in group[1:]]
    return "\n".join([*lines, "", _caption(leakage or {}), ""])


def write_metrics(
    path: str | Path,
    metrics: Mapping[str, SetScores],
    *,
    baselines: Mapping[str, Mapping[str, SetScores]] | None = None,
    leakage: Mapping[str, Leakage] | None = None,
    paired: Mapping[str, Any] | None = None,
) -> None:
    """Write `metrics.json`: fractions, in the shape of `score_set`; parts that were not given are omitted."""
    parts = {"metrics": metrics, "baselines": baselines, "leakage": leakage, "paired": paired}
    write_json(path, {name: part for name, part in parts.items() if part is not None})


def per_protein(predicted: PredictedSet) -> pa.Table:
    """One row a chain, for `per_protein.parquet`.

    Returns:
        Columns `id`, `length`, `labelled` (residues), the accuracies of the task and `sov99` (fractions; null
        where the chain has no label).
    """
    statistics = collect(predicted)
    scores = statistics.scores(statistics.matrix_NK)
    columns: dict[str, pa.Array] = {
        "id": pa.array(statistics.ids, pa.string()),
        "length": pa.array(statistics.lengths_N, pa.int32()),
        "labelled": pa.array(statistics.columns["labelled"][:, 0].astype(np.int32), pa.int32()),
    }
    for name in (*accuracy_names(predicted.task), "sov99"):
        columns[name] = pa.array(scores[name], pa.float64(), from_pandas=True)
    return pa.table(columns)


def rows(
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]],
    leakage: Mapping[str, Leakage],
    model: str,
) -> tuple[list[str], list[list[list[str]]]]:
    """Give a table's cells as text.

    Args:
        metrics: Set -> scores of the model.
        baselines: Baseline -> set -> scores.
        leakage: Set -> leakage; leaky sets are marked.
        model: What to call the model's rows.

    Returns:
        Header, and for each set its rows: the model first, then the baselines.
    """
    columns = _score_columns(metrics)
    header = ["set", "predictor", *columns, "chains", "residues"]
    groups = []
    for name, scores in metrics.items():
        mark = f" {LEAKY_MARK}" if name in leakage and leakage[name]["leaky"] else ""
        predictors = {model: scores} | {
            label: sets[name] for label, sets in baselines.items() if name in sets
        }
        group = [
            ["", label, *(_cell(row, keys) for keys in columns.values()), "", ""]
            for label, row in predictors.items()
        ]
        group[0][0] = f"{name}{mark}"
        group[0][-2:] = [f"{scores['num_chains']:,}", f"{scores['num_residues']:,}"]
        groups.append(group)
    return header, groups


def _score_columns(metrics: Mapping[str, SetScores]) -> dict[str, tuple[str, ...]]:
    """Title -> keys of the score, first found wins; a Q3 is named with its map."""
    columns: dict[str, tuple[str, ...]] = {}
    for scores in metrics.values():
        if "q9" in scores:
            columns |= {"Q9": ("q9",), "Q8": ("q8",), "Q3 (dssp)": ("q3_dssp",), "Q3 (lift)": ("q3_lift",)}
        else:
            columns |= {"Q8": ("q8",)} if "q8" in scores else {}
            columns |= {f"Q3 ({scores['ss3_map']})": ("q3",)}
    return columns | {_TITLES[key]: (key,) for key in ("macro_f1", "sov99")}


def _cell(scores: SetScores, keys: tuple[str, ...]) -> str:
    key = next((key for key in keys if scores.get(key) is not None), None)
    if key is None:
        return "–"
    interval = scores.get(f"{key}_ci95")
    spread = f" ±{50 * (interval[1] - interval[0]):.2f}" if interval else ""
    return f"{100 * scores[key]:.2f}{spread}"


def _caption(leakage: Mapping[str, Leakage]) -> str:
    text = "Per cent, ± half of the 95 % bootstrap interval over chains."
    leaky = [f"{name} {100 * found['share']:.1f} %" for name, found in leakage.items() if found["leaky"]]
    if leaky:
        text += f" {LEAKY_MARK} leaky: chains that the training set holds ({', '.join(leaky)})."
    return text


def _line(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
