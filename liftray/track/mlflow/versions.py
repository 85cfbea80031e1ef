"""Registered versions: how a version is made, named, resolved and fetched.

Invariant: a fetched bundle holds no link and nothing that runs code. For a registered version, it is the bundle that
was registered. A bundle's directory resolves without MLflow. Flow: bundle -> [this] -> registry, predict.
"""

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray import paths
from liftray.errors import BundleError, TrackingError
from liftray.redaction import redacted
from liftray.sections import names
from liftray.track.mlflow import model
from liftray.track.mlflow.card import card
from liftray.track.mlflow.store import check, client, mlflow_errors
from liftray.track.primary_score import PRIMARY

if TYPE_CHECKING:
    from mlflow import MlflowClient

CANDIDATE, CHAMPION = "candidate", "champion"
_TAG_CHARACTERS = 5000
_RUN_URI = re.compile(r"runs:/(?P<run>[0-9a-f]{32})/bundle/?")
_MODEL_URI = re.compile(
    r"models:/(?P<name>[A-Za-z0-9_][A-Za-z0-9_. -]*)(/(?P<version>[1-9][0-9]*)|@(?P<alias>[A-Za-z0-9_-]+))"
)
_FORMS = "give a bundle's directory, runs:/ID/bundle, models:/NAME/3 or models:/NAME@champion"


def register(
    bundle_dir: str | Path, run_id: str, uri: str, name: str, metrics: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Store a bundle with its run and make it a version of a registered model, with the alias `candidate`.

    Args:
        bundle_dir: The bundle.
        run_id: The run that made it.
        uri: The store.
        name: Registered model; empty: the bundle is stored with the run only.
        metrics: Set -> scores for the model card; default: those in `bundle.json`.

    Returns:
        `run_id`, `bundle_uri`, and where a version was made `name`, `version`, `model_uri`, `model_id`,
        `alias`.

    Raises:
        BundleError: The directory is no bundle.
        TrackingError: The store cannot be used, or refuses the name.
    """
    if name and not names.MODEL.fullmatch(name):
        raise TrackingError(
            f"registry.name {name!r} cannot be used", remedy="use letters, digits, . _ - and blanks"
        )
    directory, uri = Path(bundle_dir), check(uri)
    info = model.read_info(directory)
    metrics = metrics or info.get("metrics") or {}
    bundle_uri = model.log_bundle(directory, run_id, uri)
    if not name:
        return {"run_id": run_id, "bundle_uri": bundle_uri}
    tags = _tags(info, metrics, run_id, model.digest(directory))
    model_id = model.log_model(directory, run_id, uri, tags)
    version = model.create_version(model_id, name, run_id, uri, tags=tags, description=card(info, metrics))
    with mlflow_errors(uri):
        client(uri).set_registered_model_alias(name, CANDIDATE, str(version))
    return {
        "run_id": run_id,
        "bundle_uri": bundle_uri,
        "name": name,
        "version": version,
        "model_uri": f"models:/{name}/{version}",
        "model_id": model_id,
        "alias": CANDIDATE,
    }


def resolve(uri: str, tracking_uri: str) -> Path:
    """Find a model's bundle, fetching it where it is not on this machine.

    Args:
        uri: A bundle's directory, `runs:/ID/bundle`, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        tracking_uri: The store; not looked at for a directory.

    Returns:
        A directory with `bundle.json`. What was fetched is removed when the process ends.

    Raises:
        BundleError: No such form or directory, or what is there is no safe bundle.
        TrackingError: The store cannot be used, or has no such run, model, version or alias.
    """
    if not uri.startswith(("runs:", "models:")):
        directory = Path(paths.place(uri))
        if not directory.is_dir():
            raise BundleError(f"no model {uri!r}", remedy=_FORMS)
        model.read_info(directory)
        return directory
    if match := _RUN_URI.fullmatch(uri):
        tracking_uri = check(tracking_uri, create=False, write=False)
        directory = _fetch(f"runs:/{match['run']}/{model.ARTIFACT}", tracking_uri)
        model.read_info(directory)
        return directory
    match = _MODEL_URI.fullmatch(uri)
    if match is None:
        raise BundleError(f"{uri!r} names no model", remedy=_FORMS)
    tracking_uri = check(tracking_uri, create=False, write=False)
    found = find(match["name"], match["version"] or match["alias"], tracking_uri)
    return bundle_of(found, tracking_uri)


def locate(uri: str, tracking_uri: str) -> dict[str, Any]:
    """Name and version of a `models:/` URI, as prediction files name them.

    Returns:
        `name` and `version`; empty for a directory or a run.
    """
    match = _MODEL_URI.fullmatch(uri)
    if match is None:
        return {}
    tracking_uri = check(tracking_uri, create=False, write=False)
    found = find(match["name"], match["version"] or match["alias"], tracking_uri)
    return {"name": found.name, "version": int(found.version)}


def aliases(store: "MlflowClient", uri: str, name: str) -> dict[str, int]:
    """Alias -> version of a registered model.

    Raises:
        TrackingError: There is no such model.
    """
    from mlflow.exceptions import MlflowException

    with mlflow_errors(uri):
        try:
            found = store.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            names = [entry.name for entry in store.search_registered_models(max_results=20)]
            remedy = f"there are: {', '.join(names)}" if names else "train a model first"
            raise TrackingError(
                f"no registered model {name!r}", where=redacted(uri), remedy=remedy
            ) from error
    return {alias: int(version) for alias, version in found.aliases.items()}


def find(name: str, wanted: str, uri: str) -> Any:
    """A registered version by number or alias.

    Raises:
        TrackingError: There is none; the remedy lists the versions that exist.
    """
    store = client(uri)
    from mlflow.exceptions import MlflowException

    known = aliases(store, uri, name)
    with mlflow_errors(uri):
        try:
            return store.get_model_version(
                name, str(known.get(wanted, wanted) if not wanted.isdigit() else wanted)
            )
        except MlflowException as error:
            versions = sorted(int(found.version) for found in store.search_model_versions(f"name='{name}'"))
            what = f"version {wanted}" if wanted.isdigit() else f"alias {wanted!r}"
            listed = [*(f"@{alias}" for alias in sorted(known)), *map(str, versions[-10:])]
            raise TrackingError(
                f"registered model {name!r} has no {what}",
                where=redacted(uri),
                remedy=f"there are: {', '.join(listed) or 'none'}",
            ) from error


def bundle_of(found: Any, uri: str) -> Path:
    """The bundle of a registered version, fetched; removed when the process ends.

    Raises:
        BundleError: It is not the one that was registered, or no safe one.
    """
    # MLflow would look up a models:/ address in the process-wide store; the download address needs no look-up.
    with mlflow_errors(uri):
        place = client(uri).get_model_version_download_uri(found.name, found.version)
    directory = _fetch(f"{place.rstrip('/')}/artifacts/{model.ARTIFACT}", uri)
    model.read_info(directory)
    recorded = found.tags.get("liftray.bundle_digest")
    if recorded and recorded != model.digest(directory):
        raise BundleError(
            "the stored bundle is not the one that was registered",
            where=f"models:/{found.name}/{found.version}",
            remedy="register the model again",
        )
    return directory


def _fetch(artifact_uri: str, uri: str) -> Path:
    import mlflow

    folder = tempfile.mkdtemp(prefix="liftray-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with mlflow_errors(uri):
        found = Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=artifact_uri, dst_path=folder, tracking_uri=uri, registry_uri=uri
            )
        )
    if not found.resolve().is_relative_to(Path(folder).resolve()) or not found.is_dir():
        raise BundleError("no bundle", where=artifact_uri, remedy="name a run or version made by LiftRay")
    return found


def _tags(info: Mapping[str, Any], metrics: Mapping[str, Any], run_id: str, digest: str) -> dict[str, str]:
    backbone = info.get("backbone") or {}
    score = PRIMARY[info["task"]]
    value = (metrics.get("valid") or {}).get(score)
    tags = {
        "liftray.task": info["task"],
        "liftray.alphabet": info.get("alphabet", info["task"]),
        "liftray.ss3_map": info.get("ss3_map"),
        "liftray.backbone": backbone.get("name"),
        "liftray.backbone_digest": backbone.get("digest"),
        "liftray.run_id": run_id,
        "liftray.bundle_digest": digest,
        "liftray.data": json.dumps(info.get("data") or {}, sort_keys=True)[:_TAG_CHARACTERS],
        f"liftray.valid_{score}": None if value is None else f"{value:.6f}",
    }
    return {key: str(text) for key, text in tags.items() if text is not None}
