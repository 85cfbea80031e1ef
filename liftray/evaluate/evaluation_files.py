"""The files of an evaluation: `metrics.json`, `per_protein.parquet`, plots and `report.html`.

Invariant: all files hold the same scores, and the same evaluation gives the same bytes. Flow: evaluate_job -> [this] ->
evaluation_report, plots, gallery, page.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray.evaluate import evaluation_report, gallery, page, plots
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.titles import BASELINE_TITLES
from liftray.reporting.pictures import Picture

PLOTS = "plots"
_MOST_CHANGED = 5
_SEQUENCE_BASELINE = "windowed_linear"


@dataclass(frozen=True)
class Evaluation:
    """What the files are made of.

    Attributes:
        sets: Set -> the model's predictions.
        others: Set -> another model's predictions; empty without one.
        baselines: Baseline -> set -> predictions.
        result: What `evaluate` returns.
        names: Names of the model and of the other model.
        facts: Facts about the model, by name.
    """

    sets: Mapping[str, PredictedSet]
    others: Mapping[str, PredictedSet]
    baselines: Mapping[str, Mapping[str, PredictedSet]]
    result: Mapping[str, Any]
    names: tuple[str, str]
    facts: Mapping[str, str]


def write(out: Path, evaluation: Evaluation) -> None:
    """Write all files.

    Args:
        out: The directory; it is made where it does not exist.
        evaluation: What they are made of.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    result, names = evaluation.result, evaluation.names
    (out / PLOTS).mkdir(parents=True, exist_ok=True)
    evaluation_report.write_metrics(
        out / "metrics.json", **{name: part for name, part in result.items() if name != "verdict"}
    )
    tables = {
        name: evaluation_report.per_protein(predicted, evaluation.others.get(name))
        for name, predicted in evaluation.sets.items()
    }
    with_names = [
        table.add_column(0, "set", pa.array([name] * table.num_rows, pa.string()))
        for name, table in tables.items()
    ]
    pq.write_table(pa.concat_tables(with_names, promote_options="default"), out / "per_protein.parquet")
    stems = _stems(evaluation.sets)
    # Chains are plotted against the other model, or else against the best baseline that sees the sequence alone.
    compared, compared_name = (
        (evaluation.others, names[1])
        if evaluation.others
        else (evaluation.baselines.get(_SEQUENCE_BASELINE, {}), BASELINE_TITLES[_SEQUENCE_BASELINE])
    )
    set_pages = [
        page.SetPage(
            name,
            result["metrics"][name],
            _pictures(out / PLOTS, stems[name], result["metrics"][name], tables[name],
                      compared.get(name), (names[0], compared_name)),
            gallery.draw(predicted, out / PLOTS, f"{stems[name]}_chain"),
            _most_changed(tables[name]) if evaluation.others else [],
        )
        for name, predicted in evaluation.sets.items()
    ]  # fmt: skip
    page.write(out / "report.html", set_pages, result, names=names, facts=evaluation.facts)


def _pictures(
    plots_dir: Path,
    stem: str,
    scores: Mapping[str, Any],
    table: Any,
    compared: PredictedSet | None,
    names: tuple[str, str],
) -> list[Picture]:
    """Draw a set's plots."""
    q3_N = table["q3"].to_numpy()
    drawn = [
        Picture(
            plots_dir / f"{stem}_confusion.png",
            "Confusion matrix: true states in rows, predicted ones in columns.",
            _confusion_text(scores),
        ),
        Picture(
            plots_dir / f"{stem}_reliability.png",
            "Reliability: the share of correct residues among predictions of similar confidence. On the dashed line "
            "confidence equals accuracy; below it the model is overconfident.",
            f"Reliability curve. ECE {100 * scores['ece']:.2f} per cent; the table of its points follows below.",
        ),
        Picture(
            plots_dir / f"{stem}_chains.png",
            "How Q3 spreads over the chains.",
            f"Histogram of Q3 over {scores['num_scored_chains']} chains; mean "
            f"{100 * scores['q3_chain_mean']:.1f} per cent.",
        ),
    ]
    plots.confusion_matrix(scores, drawn[0].file)
    plots.reliability_curve(scores, drawn[1].file)
    plots.chain_histogram(q3_N, drawn[2].file)
    if compared is not None:
        other_N = evaluation_report.per_protein(compared)["q3"].to_numpy()
        better, worse = int((q3_N > other_N).sum()), int((q3_N < other_N).sum())
        drawn.append(
            Picture(
                plots_dir / f"{stem}_scatter.png",
                f"Each dot is a chain: {names[0]} against {names[1]}.",
                f"Scatter plot of Q3 by chain: better than {names[1]} on {better} chains, worse on {worse}.",
            )
        )
        plots.chain_scatter(other_N, q3_N, drawn[-1].file, x_name=names[1], y_name=names[0])
    return drawn


def _confusion_text(scores: Mapping[str, Any]) -> str:
    rows = zip(scores["confusion"]["states"], scores["confusion"]["counts"], strict=True)
    recall = [f"{state} {100 * row[at] / sum(row):.0f}" for at, (state, row) in enumerate(rows) if sum(row)]
    return f"Confusion matrix. Per cent of each true state predicted correctly: {', '.join(recall)}."


def _most_changed(table: Any) -> list[dict[str, Any]]:
    """The chains on which two models differ most in Q3: gains, then losses."""
    rows = [row for row in table.to_pylist() if row["q3"] is not None and row["q3_against"] is not None]
    for row in rows:
        row["difference"] = row["q3"] - row["q3_against"]
    ordered = sorted(rows, key=lambda row: (-row["difference"], row["id"]))
    gains = [row for row in ordered[:_MOST_CHANGED] if row["difference"] > 0]
    return gains + [row for row in ordered[-_MOST_CHANGED:] if row["difference"] < 0]


def _stems(names: Mapping[str, Any]) -> dict[str, str]:
    """A file name for each set: readable, and unique also where special characters were replaced."""
    stems: dict[str, str] = {}
    for name in names:
        stem = plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "set"
        number = 2
        while stem in stems.values():
            stem, number = f"{plain}_{number}", number + 1
        stems[name] = stem
    return stems
