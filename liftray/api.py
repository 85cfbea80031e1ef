"""The public functions: what `from liftray import load, predict, ingest, train, evaluate, search, promote` gives.

Invariant: a job in `jobs/` and a call here do the same and write the same files; importing this module imports nothing
heavy. Every error that a user can cause is a `liftray.LiftrayError`. A plain script needs no
`if __name__ == "__main__":`, since worker processes do not import the script.

Most functions take `tracking_uri`, the MLflow store of `models:/` and `runs:/` addresses. Its default is the
environment variable MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db`.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from liftray import environment
from liftray.errors import DataError, find_liftray_error
from liftray.results import (
    EvaluationResult,
    IngestResult,
    PredictionFiles,
    PromotionResult,
    SearchResult,
    TrainResult,
)

if TYPE_CHECKING:
    from liftray.config import Settings
    from liftray.predict.model import Model, Predictions

    Config = str | os.PathLike[str] | Mapping[str, Any] | Settings

__all__ = ["evaluate", "ingest", "load", "predict", "promote", "search", "train"]

AnyPath = str | os.PathLike[str]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _public(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Prepare the environment first, and raise the LiftrayError behind an error of Ray."""

    @functools.wraps(function)
    def wrapped(*arguments: _P.args, **options: _P.kwargs) -> _R:
        environment.prepare()
        try:
            return function(*arguments, **options)
        except Exception as error:
            known = find_liftray_error(error)
            if known is None or known is error:
                raise
            raise known from error

    return wrapped


@_public
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

    uri, store = os.fspath(model), _store(tracking_uri)
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


@_public
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
        inputs: FASTA files, gzip-compressed or not; or a mapping from id to sequence, without `out`.
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
    from liftray.predict import predict_job

    if isinstance(inputs, Mapping):
        if out is not None:
            raise DataError("a mapping of sequences is predicted in memory", remedy="leave `out` out")
        return _loaded(model, tracking_uri)(inputs, on_error=on_error)
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    files = [Path(path) for path in paths]
    chosen = predict_job.check(files, formats if out is not None else None)
    loaded = _loaded(model, tracking_uri)
    if out is None:
        return predict_job.predict_in_memory(loaded, files, on_error)
    summary = predict_job.predict_files(loaded, files, Path(out), chosen)
    return PredictionFiles(
        out=Path(out),
        files={name: Path(out) / file for name, file in summary["files"].items()},
        predicted=summary["predicted"],
        refused=summary["refused"],
        reasons=summary["reasons"],
        residues=summary["residues"],
        summary=summary,
    )


@_public
def ingest(
    inputs: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    format: str = "auto",
    alphabet: Literal["ss3", "ss8", "ss9"] | None = None,
    on_error: Literal["quarantine", "fail"] = "quarantine",
    **options: Any,
) -> IngestResult:
    """Read labelled protein files and write them as one Parquet data set.

    Args:
        inputs: Files, or directories of structure or Parquet files.
        out: Directory of the data set; an earlier data set there is replaced.
        format: three-line, fasta, netsurfp-csv, table, structures, parquet, or `auto` to detect it for each file.
        alphabet: Alphabet of the labels; None detects it.
        on_error: `quarantine` bad records with their reason, or `fail` at the first.
        **options: Further arguments of `liftray.data.ingest.ingest`.

    Raises:
        DataError: An input is missing, of no known format or without a good record, or `out` holds something else.

    Examples:
        >>> import liftray
        >>> from liftray.data import sample
        >>> result = liftray.ingest(sample.directory() / "valid.ss9.txt", "valid")
        >>> result.alphabet, result.num_chains == len(result.to_pandas())
        ('ss9', True)
    """
    from liftray.data import ingest as ingestion
    from liftray.progress import progress

    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    options = {"format": format, "alphabet": alphabet, "on_error": on_error, **options}
    with progress("ingest", None, "records") as advance:
        summary = ingestion.ingest([Path(path) for path in paths], Path(out), progress=advance, **options)
    return IngestResult(
        path=Path(out),
        alphabet=summary["alphabet"],
        num_chains=summary["num_chains"],
        num_residues=summary["num_residues"],
        num_quarantined=summary["quarantined"]["total"],
        digest=summary["digest"],
        summary=summary,
    )


@_public
def train(config: "Config", overrides: Mapping[str, Any] | Sequence[str] = ()) -> TrainResult:
    """Train adapters on a frozen backbone, evaluate, log to MLflow and register the model.

    The call starts a Ray cluster of its own and stops it, unless the process is connected to Ray or `run.ray_address`
    names a cluster. After Ctrl-C or a crash, the same call resumes from the last checkpoint.

    Args:
        config: A YAML file (the files of `configs/` are always found), a mapping of its content, or Settings.
        overrides: Dotted keys to values, or `KEY=VALUE` texts.

    Raises:
        InputError: A setting, data set, backbone or the store is at fault; nothing was written.

    Examples:
        >>> import liftray
        >>> changes = {"train.epochs": 1, "run.dir": "runs/mine", "registry.name": "mine", "evaluate.baselines": []}
        >>> result = liftray.train("configs/quickstart.yaml", changes)
        >>> result.model_uri
        'models:/mine/1'
        >>> 0.0 < result.metrics["valid"]["q3"] < 1.0
        True
    """
    from liftray.train import train_job

    return TrainResult.of(train_job.train(_settings(config, overrides)))


@_public
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

    paths = {name: os.fspath(path) for name, path in data.items()}
    for path in paths.values():  # before the models are loaded, which takes longest
        ProteinDataset.open(path)
    ours = _loaded(model, tracking_uri)
    other = None if against is None else _loaded(against, tracking_uri)
    name, other_name = evaluate_job.short_names(ours.uri, other.uri if other is not None else "")
    result = evaluate_job.evaluate(
        ours.predictor,
        paths,
        None if out is None else Path(out),
        against=None if other is None else other.predictor,
        train=[os.fspath(path) for path in train],
        model=name,
        other=other_name,
    )
    return EvaluationResult.of(result, None if out is None else Path(out), name, other_name)


@_public
def search(config: "Config", overrides: Mapping[str, Any] | Sequence[str] = ()) -> SearchResult:
    """Search settings with Ray Tune; evaluate and register the model that is best on validation data.

    After Ctrl-C or a crash, the same call resumes the search.

    Args:
        config: As in `train`; its section `search` names the space.
        overrides: As in `train`.

    Raises:
        InputError: A setting, data set, backbone or the store is at fault; nothing was written.
        LiftrayError: No trial finished.

    Examples:
        >>> import liftray
        >>> changes = {"search.space": {"adapter.skip_layers": [1, 2]}, "search.method": "grid", "train.epochs": 1,
        ...            "run.dir": "runs/search", "registry.name": "", "evaluate.baselines": []}
        >>> result = liftray.search("configs/quickstart.yaml", changes)
        >>> result.to_pandas()["adapter.skip_layers"].tolist()
        [1, 2]
    """
    from liftray.search import tune

    settings = _settings(config, overrides)
    summary = tune.search(settings)
    return SearchResult(Path(settings.run.dir), summary["best"], tuple(summary["trials"]), summary)


@_public
def promote(
    name: str,
    version: int | None = None,
    *,
    reason: str = "",
    dry_run: bool = False,
    gates: AnyPath | None = None,
    override: Sequence[str] = (),
    tracking_uri: str | None = None,
) -> PromotionResult:
    """Make a registered version champion where the gates allow it.

    Args:
        name: Registered model.
        version: Its version; default: the one with the alias `candidate`.
        reason: Why, for the ledger; needed unless `dry_run`.
        dry_run: Judge only; change nothing.
        gates: YAML file with the gates' limits; default: as in `configs/gates.yaml`.
        override: Reason codes to ignore; the ledger records them.
        tracking_uri: The MLflow store.

    Raises:
        GateRefused: A gate refused; the alias was not moved.
        TrackingError: The store does not exist or lacks the model or version.

    Examples:
        >>> import liftray
        >>> try:
        ...     result = liftray.promote("untrained", reason="better on validation")
        ... except liftray.LiftrayError as error:
        ...     print(error.remedy)
        train a model first
    """
    from liftray.track.promotion import policy, registry

    result = registry.promote(
        name,
        version,
        uri=_store(tracking_uri),
        reason=reason,
        dry_run=dry_run,
        policy=policy.load(None if gates is None else os.fspath(gates)),
        override=override,
    )
    fields = ("name", "version", "previous", "changed", "verdict", "entry")
    return PromotionResult(*(result[field] for field in fields))


def _store(tracking_uri: str | None) -> str:
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def _loaded(model: "Model | AnyPath", tracking_uri: str | None) -> "Model":
    return load(model, tracking_uri=tracking_uri) if isinstance(model, str | os.PathLike) else model


def _settings(config: "Config", overrides: Mapping[str, Any] | Sequence[str]) -> "Settings":
    from liftray import config as configs
    from liftray import shipped

    if isinstance(config, configs.Settings):
        changes = overrides if isinstance(overrides, Mapping) else configs.parse_overrides(overrides)
        return config.replace(changes)
    if isinstance(config, Mapping):
        return configs.load(config, overrides)
    return configs.load(shipped.config_file(str(config)), overrides)
