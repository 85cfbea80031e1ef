"""Starts, resumes and attaches to MLflow runs, and records the config, the code and the versions.

Flow: config -> [this] -> run <- train, search, study; then registry. The driver owns the run (`start_run`); a Ray Train
controller in another process writes to it by `attach`.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from liftray.config import Settings, to_yaml
from liftray.errors import TrackingError
from liftray.redaction import redacted
from liftray.sections.kinds import ADAPTERS
from liftray.track.mlflow.mlflow_run import MlflowRun
from liftray.track.mlflow.store import artifact_root, check, client, mlflow_errors
from liftray.track.provenance import code_tags

__all__ = ["attach", "check", "start_run"]


def start_run(
    settings: Settings,
    *,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    system_metrics_s: float | None = 10.0,
) -> MlflowRun:
    """Open a run, or continue one, and log config, code and versions.

    Args:
        settings: Resolved config; its `tracking` names the store.
        run_id: A run of this store to continue.
        parent_run_id: The run of the search that this one is a trial of.
        tags: More tags.
        system_metrics_s: Seconds between two samples of CPU, memory, disk, network and GPU; None samples
            nothing.

    Returns:
        The run, to be used as a context manager.

    Raises:
        TrackingError: The store cannot be used, or has no such run or experiment any more.
    """
    uri = check(settings.tracking.uri)
    if run_id is None:
        run = MlflowRun(uri, _create(uri, settings), system_metrics_s=system_metrics_s)
        name = "config.yaml"
    else:
        run = _reopen(uri, run_id, system_metrics_s)
        name = "config.resumed.yaml"
    try:
        run.log_params(settings.flat())
        run.log_text(to_yaml(settings), name)
        run.tag(
            {
                **code_tags(),
                **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {}),
                **(tags or {}),
            }
        )
    except BaseException as error:
        with run:  # ends it: a run that could not be described is not left as running
            raise error
    return run


def attach(uri: str, run_id: str) -> MlflowRun:
    """The same run from another process, to log to; used outside `with`, it never ends the run."""
    return MlflowRun(uri, run_id)


def _create(uri: str, settings: Settings) -> str:
    from mlflow.exceptions import MlflowException

    store, experiment = client(uri), settings.tracking.experiment
    with mlflow_errors(uri):
        found = store.get_experiment_by_name(experiment)
        if found is None:
            try:
                experiment_id = store.create_experiment(
                    experiment, artifact_location=artifact_root(uri, experiment)
                )
            except MlflowException:
                found = store.get_experiment_by_name(experiment)  # another process was first
                if found is None:
                    raise
        if found is not None:
            if found.lifecycle_stage != "active":
                raise TrackingError(
                    f"experiment {experiment!r} is deleted",
                    where=redacted(uri),
                    remedy=f"restore experiment {found.experiment_id}, or change tracking.experiment",
                )
            experiment_id = found.experiment_id
        name = settings.tracking.run_name or _run_name(settings)
        return str(store.create_run(experiment_id, run_name=name).info.run_id)


def _reopen(uri: str, run_id: str, system_metrics_s: float | None) -> MlflowRun:
    try:
        with mlflow_errors(uri):
            info = client(uri).get_run(run_id).info
            if info.lifecycle_stage != "active":
                raise TrackingError(f"run {run_id} is deleted", where=redacted(uri))
            client(uri).update_run(run_id, status="RUNNING")
    except TrackingError as error:
        raise TrackingError(
            f"cannot continue run {run_id} ({error.what})",
            where=redacted(uri),
            remedy="use the tracking.uri it was started with, or set train.resume=false",
        ) from error
    return MlflowRun(uri, run_id, system_metrics_s=system_metrics_s)


def _run_name(settings: Settings) -> str:
    parts: list[str] = [settings.task, settings.method]
    adapter = settings.adapter
    if settings.method == "full":
        parts.append(f"k{adapter.skip_layers}")
    elif settings.method == "adapter":
        has_width = "reduction_factor" in ADAPTERS[adapter.kind].reads
        width = [f"r{adapter.reduction_factor}"] if has_width else []
        parts = [settings.task, adapter.kind, *width, f"k{adapter.skip_layers}"]
    # Place and time distinguish runs that differ in other settings, or in none.
    place = Path(settings.run.dir).name
    started = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return "-".join([*parts, settings.head.kind, f"seed{settings.train.seed}", place, started])
