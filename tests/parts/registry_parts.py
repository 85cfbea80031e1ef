"""Bundles and registered versions for the tests of the registry, in a real MLflow store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from liftray.config import Settings
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client
from liftray.track.promotion.policy import Policy

NAME = "tagger"
# For bundles without a model: no gate that needs a model or a whole evaluation.
LENIENT = Policy.model_validate(
    {
        "floors": {"sov99": None, "f1": {}},
        "calibration": {"max_ece": None},
        "leakage": {"allow_unknown": True},
        "replay": {"required": False},
        "budgets": {"max_latency_s": None},
        "licence": {"required": False},
    }
)


def write_bundle(directory: Path, *, q3: float | None = 0.8, data: str = "d1", **info: Any) -> Path:
    """The files of a bundle, without a model."""
    directory.mkdir(parents=True)
    save_file({"weight": np.zeros(3, dtype=np.float32)}, directory / "head.safetensors")
    (directory / "adapter").mkdir()
    (directory / "adapter" / "adapter_config.json").write_text("{}")
    content = {
        "format_version": 1,
        "task": "ss3",
        "alphabet": "ss3",
        "ss3_map": "dssp",
        "backbone": {"name": "tiny", "digest": "b1", "licence": "MIT"},
        "data": {"valid": {"small": data}},
        "metrics": {} if q3 is None else {"valid": {"q3": q3}},
        **info,
    }
    (directory / "bundle.json").write_text(json.dumps(content))
    return directory


def add_version(uri: str, folder: Path, *, correct: list[int] | None = None, **info: Any) -> dict[str, Any]:
    """A run, its per-chain validation results where given, and a registered version."""
    correct = [80] * 10 if correct is None and "q3" not in info else correct
    with start_run(Settings().replace({"tracking.uri": uri}), system_metrics_s=None) as run:
        if correct is not None:
            names = [f"chain{place}" for place in range(len(correct))]
            table = pa.table(
                {"id": names, "labelled": [100] * len(names), "q3": [count / 100 for count in correct]}
            )
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / "valid.parquet")
            run.log_artifacts(folder / "valid.parquet", "evaluation/valid")
            info["q3"] = sum(correct) / (100 * len(correct))
        run.log_dataset("valid", "small", info.get("data", "d1"), "/absent")
        bundle = write_bundle(folder / "bundle", run_id=run.run_id, **info)
    return versions.register(bundle, run.run_id, uri, NAME)


def gate(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in result["verdict"]["gates"] if one["gate"] == name)


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def champion(uri: str) -> int | None:
    version = client(uri).get_registered_model(NAME).aliases.get("champion")
    return None if version is None else int(version)


def state(uri: str) -> tuple[Any, Any]:
    found = client(uri).get_registered_model(NAME)
    return dict(found.aliases), dict(found.tags)
