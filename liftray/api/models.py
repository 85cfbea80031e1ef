"""The public functions that use a trained model: load, predict and evaluate.

Invariant: the inputs are checked before a model is loaded, which takes longest.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from liftray import paths
from liftray.api.call import AnyPath, public, tracking_store
from liftray.errors import DataError
from liftray.files import check_writable
from liftray.results import EvaluationResult, PredictionFiles
from liftray.sections import names

if TYPE_CHECKING:
    from liftray.predict.model import Model, Predictions


@public
def load(
    model: AnyPath,
    *,
    tracking_uri: str | None = None,
    sources: Sequence[str] | None = None,
    tokens_per_batch: int = 4096,
) -> "Model":
    """Load a trained model.

    Args:
        model: A bundle's directory, `runs:/ID/bundle`, `models:/NAME/3` or `models:/NAME@champion`.
        tracking_uri: The MLflow store; not used for a directory. Loading never creates one.
        sources: Backbone sources that replace those in the bundle.
        tokens_per_batch: Padded tokens in a batch; more need more memory.

    Returns:
        A Model, on the GPU where there is one. `model("MKT...")` gives one Prediction, a list of sequences or a mapping
        from id to sequence gives Predictions.

    Raises:
        BundleError: There is no such bundle, or it is damaged or does not match its backbone.
        BackboneError: No backbone source is reachable.
        TrackingError: The store does not exist or lacks the run, model, version or alias.

    Examples:
        >>> import liftray
        >>> model = liftray.load("runs/quickstart/train/bundle")
        >>> prediction = model("MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG")
        >>> len(prediction.states), prediction.probabilities.shape, prediction.classes
        (76, (76, 3), 'CEH')
        >>> many = model({"first": "MKTAYIAK", "second": "GSHMLEDPV"})
        >>> many["second"].sequence
        'GSHMLEDPV'
    """
    from liftray.predict.model import Model
    from liftray.track.mlflow import versions

    uri, store = os.fspath(model), tracking_store(tracking_uri)
    # An alias may move at any time: the version is looked up once, so that predictions name what was fetched.
    located = versions.locate(uri, store)
    if located:
        uri = f"models:/{located['name']}/{located['version']}"
    return Model.load(
        versions.resolve(uri, store),
        uri=uri,
        name=located.get("name"),
        version=str(located["version"]) if located else None,
        sources=sources,
        tokens_per_batch=tokens_per_batch,
    )


@overload
def predict(
    model: "Model | AnyPath",
    inputs: AnyPath | Sequence[AnyPath] | Mapping[str, str],
    out: None = None,
    *,
    tracking_uri: str | None = None,
    on_error: Literal["collect", "raise"] = "collect",
) -> "Predictions": ...


@overload
def predict(
    model: "Model | AnyPath",
    inputs: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    formats: Sequence[str] = ("three-line",),
    tracking_uri: str | None = None,
) -> PredictionFiles: ...


@public
def predict(
    model: "Model | AnyPath",
    inputs: AnyPath | Sequence[AnyPath] | Mapping[str, str],
    out: AnyPath | None = None,
    *,
    formats: Sequence[str] = ("three-line",),
    tracking_uri: str | None = None,
    on_error: Literal["collect", "raise"] = "collect",
) -> "Predictions | PredictionFiles":
    """Predict the chains of FASTA files, or of a mapping from id to sequence.

    The inputs are checked before the model is loaded.

    Args:
        model: A loaded Model, or its address as in `load`.
        inputs: FASTA files, compressed or not, `-` for standard input; or a mapping from id to sequence, without `out`.
        out: Directory for prediction files; None keeps the predictions in memory.
        formats: With `out`: of three-line, csv, json, parquet, ss2, horiz, netsurfp.
        tracking_uri: The MLflow store; not used for a directory or a loaded model.
        on_error: Without `out`: `collect` chains that cannot be predicted in `refused`, or `raise` at the first.

    Returns:
        Predictions in memory, or with `out` the PredictionFiles that were written.

    Raises:
        DataError: An input is missing, empty or not FASTA; or, with `raise`, a chain cannot be predicted.
        ConfigError: A format is unknown.
        BundleError: The model is missing or damaged.
        BackboneError: Its backbone is not reachable.
        TrackingError: The store does not exist or lacks the model.

    Examples:
        >>> import liftray
        >>> from liftray.data import sample
        >>> fasta = sample.directory() / "example.fasta"
        >>> predictions = liftray.predict("runs/quickstart/train/bundle", fasta)
        >>> list(predictions.to_pandas().columns)
        ['id', 'description', 'sequence', 'length', 'ss', 'mean_confidence']
        >>> files = liftray.predict("runs/quickstart/train/bundle", fasta, "predictions", formats=["csv"])
        >>> files.files["csv"].as_posix(), files.refused
        ('predictions/predictions.csv', 0)
    """
    from liftray import standard_streams
    from liftray.predict import predict_job

    if isinstance(inputs, Mapping):
        if out is not None:
            raise DataError("a mapping of sequences is predicted in memory", remedy="leave `out` out")
        return _loaded(model, tracking_uri)(inputs, on_error=on_error)
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    place = None if out is None else Path(paths.local(out))
    if place is not None:
        check_writable(place)
    with standard_streams.inputs([paths.local(path) for path in given]) as names:
        files = [Path(name) for name in names]
        chosen = predict_job.check(files, formats if place is not None else None)
        loaded = _loaded(model, tracking_uri)
        if place is None:
            return predict_job.predict_in_memory(loaded, files, on_error)
        summary = predict_job.predict_files(loaded, files, place, chosen)
    return PredictionFiles(
        out=place,
        files={name: place / file for name, file in summary["files"].items()},
        predicted=summary["predicted"],
        refused=summary["refused"],
        reasons=summary["reasons"],
        residues=summary["residues"],
        summary=summary,
    )


@public
def evaluate(
    model: "Model | AnyPath",
    data: Mapping[str, AnyPath],
    *,
    against: "Model | AnyPath | None" = None,
    train: Sequence[AnyPath] = (),
    out: AnyPath | None = None,
    tracking_uri: str | None = None,
) -> EvaluationResult:
    """Score a model on labelled data sets, with 95 % intervals from a bootstrap over chains.

    Args:
        model: A loaded Model, or its address as in `load`.
        data: Name -> Parquet data set, as `ingest` wrote it.
        against: A second model for a paired comparison on the same chains.
        train: Training sets, for baselines and leakage.
        out: Directory for `report.html`, `metrics.json` and `per_protein.parquet`; None writes nothing.
        tracking_uri: The MLflow store; not used for directories and loaded models.

    Raises:
        DataError: A data set is missing, or one of its chains cannot be predicted.
        ConfigError: The two models cannot be compared.
        BundleError: A model is missing or damaged.

    Examples:
        >>> import liftray
        >>> result = liftray.evaluate("runs/quickstart/train/bundle", {"valid": "runs/quickstart/data/valid"})
        >>> table = result.to_pandas()
        >>> sorted(table[table["score"] == "q3"].columns)
        ['ci95_high', 'ci95_low', 'model', 'score', 'set', 'value']
    """
    from liftray.data.dataset import ProteinDataset
    from liftray.evaluate import evaluate_job

    names.check_set_names(data)
    sets = {name: paths.place(path) for name, path in data.items()}
    training = [paths.place(path) for path in train]
    out = None if out is None else paths.local(out)
    if out is not None:
        check_writable(out)
    for path in (*sets.values(), *training):  # before the models are loaded, which takes longest
        ProteinDataset.open(path)
    ours = _loaded(model, tracking_uri)
    other = None if against is None else _loaded(against, tracking_uri)
    name, other_name = evaluate_job.short_names(ours.uri, other.uri if other is not None else "")
    result = evaluate_job.evaluate(
        ours.predictor,
        sets,
        None if out is None else Path(out),
        against=None if other is None else other.predictor,
        train=training,
        model=name,
        other=other_name,
    )
    return EvaluationResult.of(result, None if out is None else Path(out), name, other_name)


def _loaded(model: "Model | AnyPath", tracking_uri: str | None) -> "Model":
    return load(model, tracking_uri=tracking_uri) if isinstance(model, str | os.PathLike) else model
