"""The `evaluate` job: a model scored on data sets, beside baselines and another model, as files.

Invariant: everything that can be refused is refused before the first file is written; `summary.json` comes last, so
where it stands the results are whole. Flow: jobs/evaluate -> scoring -> [this] -> evaluation_report, page -> files.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray import files
from liftray.data.labels import Ss3Map
from liftray.errors import ConfigError
from liftray.evaluate import evaluation_report, gallery, page, plots
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.scoring import baseline_sets, compare_sets, leakage_of, predict_sets, score_sets
from liftray.statistics.resampling import RESAMPLES

if TYPE_CHECKING:
    from liftray.predict.predictor import Predictor

PLOTS = "plots"
_SEED = 0
_MOST_CHANGED = 5


def evaluate(
    predictor: "Predictor",
    data: Mapping[str, str],
    out: Path | None,
    *,
    against: "Predictor | None" = None,
    train: Sequence[str] = (),
    resamples: int = RESAMPLES,
    model: str = "this model",
    other: str = "the other model",
) -> dict[str, Any]:
    """Score a model on data sets; write `metrics.json`, `per_protein.parquet`, `report.html`, plots, `summary.json`.

    Args:
        predictor: The model.
        data: Name -> Parquet data set.
        out: Directory for the results; None writes nothing.
        against: A second model for a paired comparison on the same chains.
        train: Training sets, for the leakage share and the baselines; without them none are given.
        resamples: Bootstrap and permutation resamples.
        model: What the model is called in tables.
        other: What the second model is called.

    Returns:
        `metrics`, and where asked for `baselines`, `leakage`, `against` (the other model's metrics) and `paired`.

    Raises:
        DataError: A data set is missing, or one of its chains cannot be predicted.
        ConfigError: The two models cannot be compared.
    """
    ss3_map = predictor.info["ss3_map"]
    their_map = None if against is None else _map_to_compare_by(predictor, against)
    sets = predict_sets(predictor, data, ss3_map)
    theirs = {} if against is None or their_map is None else predict_sets(against, data, their_map)
    rivals = baseline_sets(train, sets, seed=_SEED) if train else {}
    result: dict[str, Any] = {"metrics": score_sets(sets, resamples=resamples)}
    if train:
        result["baselines"] = {name: score_sets(rival, resamples=resamples) for name, rival in rivals.items()}
        result["leakage"] = leakage_of(train, data)
    if theirs:
        result["against"] = score_sets(theirs, resamples=resamples)
        result["paired"] = compare_sets(sets, theirs, resamples=resamples)
    if out is None:
        return result
    _write(out, predictor, sets, theirs, rivals, result, (model, other))
    files.write_json(
        out / "summary.json",
        {
            "model": model,
            **({"other": other} if theirs else {}),
            **result,
            "out": str(out),
            "data": dict(data),
        },
    )
    return result


def called(*uris: str) -> list[str]:
    """Short names for models: the URI in the registry or the store, or the end of a path; whole where two are alike."""
    short = [uri if ":/" in uri else "/".join(Path(uri).resolve().parts[-2:]) for uri in uris]
    return short if len(set(short)) == len(short) else list(uris)


def _map_to_compare_by(ours: "Predictor", theirs: "Predictor") -> Ss3Map:
    """The map of ours, by which a richer model of theirs can be scored as well."""
    ss3_map: Ss3Map = ours.info["ss3_map"]
    if theirs.alphabet == "ss3" and theirs.info["ss3_map"] != ss3_map:
        raise ConfigError(
            f"a three-state model of the map {theirs.info['ss3_map']} cannot be compared by the map {ss3_map}",
            where="--against",
            remedy="swap the two models, or compare models of one map",
        )
    return ss3_map


def _write(
    out: Path,
    predictor: "Predictor",
    sets: Mapping[str, PredictedSet],
    theirs: Mapping[str, PredictedSet],
    rivals: Mapping[str, Mapping[str, PredictedSet]],
    result: Mapping[str, Any],
    names: tuple[str, str],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (out / PLOTS).mkdir(parents=True, exist_ok=True)
    evaluation_report.write_metrics(out / "metrics.json", **result)
    tables = {
        name: evaluation_report.per_protein(predicted, theirs.get(name)) for name, predicted in sets.items()
    }
    named = [
        table.add_column(0, "set", pa.array([name] * table.num_rows, pa.string()))
        for name, table in tables.items()
    ]
    pq.write_table(pa.concat_tables(named, promote_options="default"), out / "per_protein.parquet")
    stems = _stems(sets)
    # Chains are set against the other model, or else against the best baseline that sees the sequence alone.
    beside, beside_name = (
        (theirs, names[1]) if theirs else (rivals.get("windowed_linear", {}), "windowed linear")
    )
    pages = [
        page.SetPage(
            name,
            result["metrics"][name],
            _figures(out / PLOTS, stems[name], result["metrics"][name], tables[name],
                     beside.get(name), (names[0], beside_name)),
            gallery.draw(predicted, out / PLOTS, f"{stems[name]}_chain"),
            _most_changed(tables[name]) if theirs else [],
        )
        for name, predicted in sets.items()
    ]  # fmt: skip
    page.write(out / "report.html", pages, result, names=names, facts=_facts(predictor, names[0]))


def _figures(
    plots_dir: Path,
    stem: str,
    scores: Mapping[str, Any],
    table: Any,
    beside: PredictedSet | None,
    names: tuple[str, str],
) -> list[page.Figure]:
    """Draw a set's plots."""
    q3_N = table["q3"].to_numpy()
    drawn = [
        page.Figure(
            plots_dir / f"{stem}_confusion.png",
            "Confusion matrix: true states in rows, predicted ones in columns.",
            _told_confusion(scores),
        ),
        page.Figure(
            plots_dir / f"{stem}_reliability.png",
            "Reliability: how often predictions of like confidence are right. On the dashed line they would mean "
            "what they say; below it the model is too sure.",
            f"Reliability curve. ECE {100 * scores['ece']:.2f} per cent; the table of its points follows below.",
        ),
        page.Figure(
            plots_dir / f"{stem}_chains.png",
            "How Q3 spreads over the chains.",
            f"Histogram of Q3 over {scores['num_scored_chains']} chains; mean "
            f"{100 * scores['q3_chain_mean']:.1f} per cent.",
        ),
    ]
    plots.confusion_matrix(scores, drawn[0].picture)
    plots.reliability_curve(scores, drawn[1].picture)
    plots.chain_histogram(q3_N, drawn[2].picture)
    if beside is not None:
        other_N = evaluation_report.per_protein(beside)["q3"].to_numpy()
        better, worse = int((q3_N > other_N).sum()), int((q3_N < other_N).sum())
        drawn.append(
            page.Figure(
                plots_dir / f"{stem}_scatter.png",
                f"Each dot a chain: {names[0]} against {names[1]}.",
                f"Scatter plot of Q3 by chain: better than {names[1]} on {better} chains, worse on {worse}.",
            )
        )
        plots.chain_scatter(other_N, q3_N, drawn[-1].picture, x_name=names[1], y_name=names[0])
    return drawn


def _told_confusion(scores: Mapping[str, Any]) -> str:
    rows = zip(scores["confusion"]["states"], scores["confusion"]["counts"], strict=True)
    kept = [f"{state} {100 * row[at] / sum(row):.0f}" for at, (state, row) in enumerate(rows) if sum(row)]
    return f"Confusion matrix. Per cent of each true state found: {', '.join(kept)}."


def _most_changed(table: Any) -> list[dict[str, Any]]:
    """The chains on which two models differ most in Q3: gains, then losses."""
    rows = [row for row in table.to_pylist() if row["q3"] is not None and row["q3_against"] is not None]
    for row in rows:
        row["difference"] = row["q3"] - row["q3_against"]
    ordered = sorted(rows, key=lambda row: (-row["difference"], row["id"]))
    gains = [row for row in ordered[:_MOST_CHANGED] if row["difference"] > 0]
    return gains + [row for row in ordered[-_MOST_CHANGED:] if row["difference"] < 0]


def _facts(predictor: "Predictor", model: str) -> dict[str, str]:
    """What the page says of the model."""
    info = predictor.info
    backbone, temperature = (
        info.get("backbone") or {},
        (info.get("calibration") or {}).get("temperature", 1.0),
    )
    facts = {
        "model": model,
        "task": f"{predictor.alphabet}, map to three states {info['ss3_map']}",
        "backbone": backbone.get("name"),
        "backbone digest": (backbone.get("digest") or "")[:12],
        "method": info.get("method"),
        "run": info.get("run_id"),
        "temperature": f"{temperature:.3g}" if temperature != 1.0 else "1 (not calibrated)",
    }
    return {name: str(value) for name, value in facts.items() if value}


def _stems(names: Mapping[str, Any]) -> dict[str, str]:
    """A file name for each set: readable, and different also where odd letters were replaced."""
    stems: dict[str, str] = {}
    for name in names:
        stem = plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "set"
        number = 2
        while stem in stems.values():
            stem, number = f"{plain}_{number}", number + 1
        stems[name] = stem
    return stems
