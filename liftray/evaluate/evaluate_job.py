"""The `evaluate` job: a model scored on data sets, next to baselines and another model, as files.

Invariant: everything that can be refused is refused before the first file is written. `summary.json` comes last, so
where it exists the results are complete. Flow: jobs/evaluate -> scoring -> [this] -> evaluation_files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray import files
from liftray.data.labels import Ss3Map
from liftray.errors import ConfigError
from liftray.evaluate import evaluation_files
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.comparison import compare
from liftray.evaluate.evaluation_files import Evaluation
from liftray.evaluate.scoring import (
    baseline_sets,
    compare_sets,
    leakage_of,
    leakage_of_model,
    predict_sets,
    score_sets,
    worse_leakage,
)
from liftray.evaluate.verdict import deciding_set, verdict
from liftray.statistics.resampling import RESAMPLES

if TYPE_CHECKING:
    from liftray.predict.predictor import Predictor

_SEED = 0
_NO_BASELINE = "give the model's training sets with --train"


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
        train: Training sets, for baselines, and for leakage next to what the model's bundle holds of its training
            chains.
        resamples: Bootstrap and permutation resamples.
        model: Name of the model in tables.
        other: Name of the second model in tables.

    Returns:
        `verdict` and `metrics`, and where requested `baselines`, `leakage`, `against` (the other model's metrics) and
        `paired`.

    Raises:
        DataError: A data set is missing, or one of its chains cannot be predicted.
        ConfigError: The two models cannot be compared.
    """
    ss3_map = predictor.info["ss3_map"]
    their_map = None if against is None else _map_to_compare_by(predictor, against)
    sets = predict_sets(predictor, data, ss3_map)
    theirs = {} if against is None or their_map is None else predict_sets(against, data, their_map)
    baselines = baseline_sets(train, sets, seed=_SEED) if train else {}
    result: dict[str, Any] = {"metrics": score_sets(sets, resamples=resamples)}
    if train:
        result["baselines"] = {
            name: score_sets(baseline, resamples=resamples) for name, baseline in baselines.items()
        }
    leaks = worse_leakage(leakage_of_model(predictor, data), leakage_of(train, data) if train else {})
    if leaks:
        result["leakage"] = leaks
    if theirs:
        result["against"] = score_sets(theirs, resamples=resamples)
        result["paired"] = compare_sets(sets, theirs, resamples=resamples)
    result = {"verdict": _verdict(result, sets, baselines, model, other, resamples), **result}
    if out is None:
        return result
    evaluation_files.write(
        out, Evaluation(sets, theirs, baselines, result, (model, other), model_facts(predictor.info, model))
    )
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


def short_names(*uris: str) -> list[str]:
    """Short names for models: the URI in the registry or the store, or the end of a path; whole where two are alike."""
    short = [uri if ":/" in uri else "/".join(Path(uri).resolve().parts[-2:]) for uri in uris]
    return short if len(set(short)) == len(short) else list(uris)


def _verdict(
    result: Mapping[str, Any],
    sets: Mapping[str, PredictedSet],
    baselines: Mapping[str, Mapping[str, PredictedSet]],
    model: str,
    other: str,
    resamples: int,
) -> dict[str, Any]:
    """Against the best baseline, or against the other model where there is no baseline."""
    metrics, leakage = result["metrics"], result.get("leakage")
    if baselines:
        name = deciding_set(metrics, leakage)
        paired = {
            baseline: {name: compare(sets[name], predicted[name], resamples=resamples)}
            for baseline, predicted in baselines.items()
        }
        return verdict(metrics, result["baselines"], paired, leakage, model=model)
    scored, paired = (
        ({other: result["against"]}, {other: result["paired"]}) if "against" in result else ({}, {})
    )
    return verdict(metrics, scored, paired, leakage, model=model, remedy=_NO_BASELINE)


def _map_to_compare_by(ours: "Predictor", theirs: "Predictor") -> Ss3Map:
    """The map of our model, by which a richer model of theirs can be scored as well."""
    ss3_map: Ss3Map = ours.info["ss3_map"]
    if theirs.alphabet == "ss3" and theirs.info["ss3_map"] != ss3_map:
        raise ConfigError(
            f"a three-state model of the map {theirs.info['ss3_map']} cannot be compared by the map {ss3_map}",
            where="--against",
            remedy="swap the two models, or compare models of one map",
        )
    return ss3_map


def model_facts(info: Mapping[str, Any], model: str) -> dict[str, str]:
    """Facts about a model, for the page.

    Args:
        info: The content of `bundle.json`.
        model: The model's name.
    """
    backbone, temperature = (
        info.get("backbone") or {},
        (info.get("calibration") or {}).get("temperature", 1.0),
    )
    facts = {
        "model": model,
        "task": f"{info.get('task')}, map to three states {info['ss3_map']}",
        "backbone": backbone.get("name"),
        "backbone digest": (backbone.get("digest") or "")[:12],
        "method": info.get("method"),
        "run": info.get("run_id"),
        "temperature": f"{temperature:.3g}" if temperature != 1.0 else "1 (not calibrated)",
    }
    return {name: str(value) for name, value in facts.items() if value}
