"""The public functions that lead to a registered model: ingest, train, search and promote."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from liftray import paths
from liftray.api.call import AnyPath, public, tracking_store
from liftray.results import IngestResult, PromotionResult, SearchResult, TrainResult

if TYPE_CHECKING:
    from liftray.config import Settings

    Config = str | os.PathLike[str] | Mapping[str, Any] | Settings


@public
def ingest(
    inputs: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    format: str = "auto",
    alphabet: Literal["ss3", "ss8", "ss9"] | None = None,
    labels: Sequence[str] | Mapping[str, str] = (),
    set: str | None = None,
    on_error: Literal["quarantine", "fail"] = "quarantine",
    **options: Any,
) -> IngestResult:
    """Read labelled protein files and write them as one Parquet data set.

    Args:
        inputs: Files, or directories of structure or Parquet files; `-` for standard input.
        out: Directory of the data set; an earlier data set there is replaced.
        format: three-line, fasta, netsurfp-csv, table, jsonl, dssp, psipred, structures, parquet, or `auto` to detect
            it for each file.
        alphabet: Alphabet of the labels; None detects it.
        labels: What the files' labels mean: `["C=L", "blank=X"]` or `{"C": "L"}`.
        set: The part of a split to take: train, validation, test, another name, or `all`; None refuses files that mix
            parts.
        on_error: `quarantine` bad records with their reason, or `fail` at the first.
        **options: Further arguments of `liftray.data.ingest.ingest`.

    Raises:
        DataError: An input is missing, of no known format or without a good record, parts of a split are mixed, or
            `out` holds something else.

    Examples:
        >>> import liftray
        >>> from liftray.data import sample
        >>> result = liftray.ingest(sample.directory() / "valid.ss9.txt", "valid")
        >>> result.alphabet, result.num_chains == len(result.to_pandas())
        ('ss9', True)
    """
    from liftray import standard_streams
    from liftray.data import ingest as ingestion
    from liftray.progress import progress, show_line

    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    out = paths.local(out)
    options = {
        "format": format,
        "alphabet": alphabet,
        "labels": labels,
        "set": set,
        "on_error": on_error,
        **options,
    }
    with (
        standard_streams.inputs([paths.local(path) for path in given]) as names,
        progress("ingest", None, "records") as advance,
    ):
        sources = [Path(name) for name in names]
        summary = ingestion.ingest(sources, Path(out), progress=advance, **options)
    for warning in summary["warnings"]:
        show_line(f"warning: {warning}")
    return IngestResult(
        path=Path(out),
        alphabet=summary["alphabet"],
        num_chains=summary["num_chains"],
        num_residues=summary["num_residues"],
        num_quarantined=summary["quarantined"]["total"],
        digest=summary["digest"],
        summary=summary,
    )


@public
def train(config: "Config", overrides: Mapping[str, Any] | Sequence[str] = ()) -> TrainResult:
    """Train adapters on a frozen backbone, evaluate, log to MLflow and register the model.

    The call starts a Ray cluster of its own and stops it, unless the process is connected to Ray or `run.ray_address`
    names a cluster. After Ctrl-C or a crash, the same call resumes from the last checkpoint.

    Args:
        config: A YAML file (the files of `configs/` are always found), a mapping of its content, or Settings.
        overrides: Dotted keys to values, or `KEY=VALUE` texts.

    Raises:
        InputError: A setting, data set, backbone or the store is invalid; nothing was written.

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


@public
def search(config: "Config", overrides: Mapping[str, Any] | Sequence[str] = ()) -> SearchResult:
    """Search settings with Ray Tune; evaluate and register the model that is best on validation data.

    After Ctrl-C or a crash, the same call resumes the search.

    Args:
        config: As in `train`; its section `search` names the space.
        overrides: As in `train`.

    Raises:
        InputError: A setting, data set, backbone or the store is invalid; nothing was written.
        LiftrayError: No trial finished.

    Examples:
        >>> import liftray
        >>> changes = {"search.space": {"adapter.skip_layers": [1, 2]}, "search.method": "grid", "train.epochs": 1,
        ...            "run.dir": "runs/search", "registry.name": "", "evaluate.baselines": [],
        ...            "scaling.num_workers": 1}  # trials of one worker share a process
        >>> result = liftray.search("configs/quickstart.yaml", changes)
        >>> result.to_pandas()["adapter.skip_layers"].tolist()
        [1, 2]
    """
    from liftray.search import tune

    settings = _settings(config, overrides)
    summary = tune.search(settings)
    return SearchResult(Path(settings.run.dir), summary["best"], tuple(summary["trials"]), summary)


@public
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
        uri=tracking_store(tracking_uri),
        reason=reason,
        dry_run=dry_run,
        policy=policy.load(None if gates is None else paths.local(gates)),
        override=override,
    )
    fields = ("name", "version", "previous", "changed", "verdict", "entry")
    return PromotionResult(*(result[field] for field in fields))


def _settings(config: "Config", overrides: Mapping[str, Any] | Sequence[str]) -> "Settings":
    from liftray import config as configs
    from liftray import shipped

    if isinstance(config, configs.Settings):
        changes = overrides if isinstance(overrides, Mapping) else configs.parse_overrides(overrides)
        return config.replace(changes)
    if isinstance(config, Mapping):
        return configs.load(config, overrides)
    return configs.load(shipped.config_file(str(config)), overrides)
