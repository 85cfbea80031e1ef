"""Logs a bundle as an MLflow model: files of the run, and a pyfunc that predicts sequences.

Invariant: the stored files hold no pickle, and MLflow loads them with pickle forbidden. A model that could not be
stored as a whole is marked as failed. Flow: bundle -> [this] -> registry.
"""

import os
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import liftray
from liftray.errors import BundleError
from liftray.files import sha256_file
from liftray.predict import bundle_files
from liftray.track.mlflow.store import client, harden, mlflow_errors, process_wide

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

ARTIFACT = "bundle"
_INFO = "bundle.json"
_PYFUNC = Path(liftray.__file__).resolve().parent / "predict" / "pyfunc.py"
_REQUIRED = (
    "torch",
    "transformers",
    "adapters",
    "safetensors",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyyaml",
)
# Formats whose loading can run code.
_UNSAFE = {
    ".pkl",
    ".pickle",
    ".cloudpickle",
    ".joblib",
    ".dill",
    ".pt",
    ".pth",
    ".bin",
    ".ckpt",
    ".py",
    ".so",
}
_EXAMPLE = [
    {
        "id": "ubiquitin",
        "sequence": "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    }
]


def read_info(directory: Path) -> dict[str, Any]:
    """Read `bundle.json` and check the directory: no links, no file that runs code on load.

    The digests of the tensor files are checked where they are loaded.

    Raises:
        BundleError: It is no bundle, or an unsafe one.
    """
    where = str(directory)
    info = bundle_files.read_description(directory)
    if info.get("task") not in ("ss3", "ss8", "ss9"):
        raise BundleError(f"{_INFO} names no task", where=where, remedy="train or export the model again")
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(
                f"{name} is a link or a special file", where=where, remedy="copy the file itself"
            )
        if path.suffix.lower() in _UNSAFE:
            raise BundleError(f"{name} is of a format that can run code", where=where, remedy="remove it")
    return info


def digest(directory: Path) -> str:
    """Digest of a bundle: that of `bundle.json`, which names the digests of all other files."""
    return sha256_file(directory / _INFO)


def log_bundle(directory: Path, run_id: str, uri: str) -> str:
    """Store a bundle under `bundle` of the run.

    Returns:
        `runs:/ID/bundle`.
    """
    with mlflow_errors(uri):
        client(uri).log_artifacts(run_id, str(directory), ARTIFACT)
    return f"runs:/{run_id}/{ARTIFACT}"


def log_model(directory: Path, run_id: str, uri: str, tags: dict[str, str]) -> str:
    """Store a bundle as the run's MLflow model `model`.

    Returns:
        MLflow's id of the model.

    Raises:
        TrackingError: The store cannot be reached or refuses.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    store = client(uri)
    with mlflow_errors(uri):
        experiment_id = store.get_run(run_id).info.experiment_id
        logged = store.create_logged_model(experiment_id, name="model", source_run_id=run_id, tags=tags)
        status = LoggedModelStatus.FAILED
        try:
            with tempfile.TemporaryDirectory() as folder:
                # MLflow keeps the directory's own name, and a bundle may have any.
                named = Path(folder) / ARTIFACT
                shutil.copytree(directory, named)
                local = Path(folder) / "model"
                _save(named, local, run_id, logged)
                store.log_model_artifacts(logged.model_id, str(local))
            store.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            status = LoggedModelStatus.READY
        finally:
            store.finalize_logged_model(logged.model_id, status)
    return str(logged.model_id)


def create_version(
    model_id: str, name: str, run_id: str, uri: str, *, tags: dict[str, str], description: str
) -> int:
    """Register a logged model as the next version of `name`, which is created where it does not exist."""
    from mlflow.exceptions import MlflowException

    store = client(uri)
    # An SQLite registry looks the model up in the process-wide store.
    with mlflow_errors(uri), process_wide(uri):
        try:
            store.create_registered_model(name, description="Secondary structure models made by LiftRay.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = store.create_model_version(
            name, f"models:/{model_id}", run_id=run_id, tags=tags, description=description, model_id=model_id
        )
    return int(version.version)


def _save(bundle: Path, local: Path, run_id: str, logged: Any) -> None:
    import mlflow
    from mlflow.models import Model

    harden()
    # The requirements are given; MLflow would otherwise also look for a uv project and start uv.
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on type hints and examples
        mlflow.pyfunc.save_model(
            path=local,
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            ),
            python_model=str(_PYFUNC),
            artifacts={ARTIFACT: str(bundle)},
            signature=_signature(),
            input_example=_EXAMPLE,
            pip_requirements=_requirements(),
            metadata={"liftray_version": liftray.__version__, "bundle_digest": digest(bundle)},
        )
    for cache in local.rglob("__pycache__"):
        shutil.rmtree(cache)


def _signature() -> "ModelSignature":
    """Inputs, outputs and parameters.

    By default, MLflow converts the input to a table and demands the named columns. A schema with `sequence` and `id`
    would refuse a plain list, and a schema without names would read `id` as the sequence. A signature marked as coming
    from a type hint is recorded and shown, but MLflow does not convert the data. Lists, tables and dicts reach the
    model unchanged, and the model reports what is wrong with them.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    inputs = [ColSpec(DataType.string, "sequence"), ColSpec(DataType.string, "id", required=False)]
    outputs = [
        ColSpec(DataType.string, "id"),
        ColSpec(DataType.string, "sequence"),
        ColSpec(DataType.string, "ss"),
        ColSpec(DataType.double, "mean_confidence"),
        ColSpec(DataType.string, "error", required=False),
        ColSpec(Array(Array(DataType.double)), "probabilities", required=False),
        ColSpec(DataType.string, "classes", required=False),
    ]
    params = [
        ParamSpec("probabilities", DataType.boolean, False),
        ParamSpec("batch_tokens", DataType.long, 4096),
    ]
    signature = ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))
    signature._is_signature_from_type_hint = True
    return signature


def _requirements() -> list[str]:
    """LiftRay and what prediction imports, at the versions in use (without a build's local suffix)."""
    found = [f"liftray=={liftray.__version__}"]
    for name in _REQUIRED:
        found.append(f"{name}=={metadata.version(name).partition('+')[0]}")
    return found
