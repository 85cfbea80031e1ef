"""A whole search: Ray Tune over Ray Train runs, with real MLflow."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from liftray.predict import bundle
from liftray.search.tune import METRIC, search
from liftray.track.store import client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("ray_cluster"),
]


def _checkpoints(out: Path) -> set[str]:
    return {str(path) for path in out.glob("trials/*/checkpoints/step-*")}


def test_the_best_trial_is_registered_and_a_second_search_repeats_none(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    chosen = tiny.settings(
        **{
            **parts,
            "data__test": {"held": tiny.dataset(tmp_path / "h", tiny.chains([50, 70], seed=9, name="h"))},
            "train__epochs": 2,
            "run__dir": str(out),
            "tracking__uri": mlflow_uri,
            "registry__name": "searched",
            "search__space": {"adapter.skip_layers": [0, 2]},
        }
    )
    first = search(chosen)
    assert [row["state"] for row in first["trials"]] == ["finished", "finished"]
    top = max(first["trials"], key=lambda row: row["metrics"][METRIC])
    assert first["best"]["config"] == top["config"]
    assert first["best"]["metrics"]["valid"]["q3"] == pytest.approx(top["metrics"][METRIC], abs=1e-6)
    assert set(first["best"]["metrics"]) == {"valid", "held"}
    info = bundle.read_info(first["best"]["bundle"])
    assert info["adapter"]["skip_layers"] == top["config"]["adapter.skip_layers"]

    store = client(mlflow_uri)
    version = store.get_model_version_by_alias("searched", "candidate")
    assert version.run_id == first["best"]["run_id"]
    runs = store.search_runs([store.get_run(first["run_id"]).info.experiment_id])
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == first["run_id"]]
    assert len(children) == 2
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.params["data.test"] == "{}", "a trial was given a test set"
        scored = {name for name in run.data.metrics if name.startswith("test/")}
        assert bool(scored) == (run.info.run_id == first["best"]["run_id"])

    before = _checkpoints(out)
    second = search(chosen)
    assert _checkpoints(out) == before, "a finished trial was trained again"
    assert second["best"]["config"] == first["best"]["config"]
    assert second["best"]["metrics"] == first["best"]["metrics"]
