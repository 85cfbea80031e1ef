"""The champion answers over HTTP through MLflow's own server, and an alias that moved is followed on the next load."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import liftray
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import process_wide
from liftray.track.promotion import registry
from liftray.track.promotion.policy import Policy
from tests.parts import tiny
from tests.parts.servers import Server

NAME = "served"
SEQUENCES = ["MKVLAAGIT", "ACDEFGHIKLMNPQRSTVWY" * 3, "GG"]
POLICY = Policy.model_validate(
    {
        "floors": {"sov99": None, "f1": {}},
        "calibration": {"max_ece": None},
        "leakage": {"allow_unknown": True},
        "replay": {"required": False},
        "budgets": {"max_latency_s": None},
        "licence": {"required": False},
        "sets": {"margin": 1.0},
    }
)

pytestmark = pytest.mark.slow


def _register(uri: str, folder: Path, weights: str, seed: int) -> Path:
    from liftray.adapt import tagger as taggers
    from liftray.adapt.tagger import TaggerSettings
    from liftray.backbone import model
    from liftray.backbone.sources import resolve

    settings = TaggerSettings.of(tiny.settings(adapter__reduction_factor=4))
    made = tiny.move(taggers.build(model.load(resolve([weights])), settings, seed=0), seed)
    details = {"data": {"valid": {"set": "d1"}}, "metrics": {"valid": {"q3": 0.5}}}
    bundle.save(made, folder, [weights], details)
    with start_run(tiny.settings(tracking__uri=uri), system_metrics_s=None) as run:
        run.log_dataset("valid", "set", "d1", "/absent")
        versions.register(folder, run.run_id, uri, NAME)
    return folder


@pytest.fixture
def bundles(mlflow_uri: str, tmp_path: Path) -> list[Path]:
    """Two registered versions; the first is champion."""
    weights = tiny.write_backbone(tmp_path / "weights")
    made = [_register(mlflow_uri, tmp_path / str(seed), weights, seed) for seed in (3, 4)]
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=POLICY)
    return made


def states(directory: Path) -> list[str]:
    chains = [(str(place), text) for place, text in enumerate(SEQUENCES)]
    return [found.states for found in Predictor.load(directory).predict(chains)]  # type: ignore[union-attr]


@pytest.fixture
def served(bundles: list[Path], mlflow_uri: str, tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    command += ["--env-manager", "local"]
    root = str(Path(liftray.__file__).resolve().parents[1])
    environment = {"MLFLOW_TRACKING_URI": mlflow_uri, "PYTHONPATH": root}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with Server(command, tmp_path, "/ping", environment) as server:
        yield f"{server.address}/invocations"


def ask(address: str, content: Any, kind: str = "application/json") -> list[dict[str, Any]]:
    data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]  # type: ignore[no-any-return]


def test_the_champion_answers_over_http(served: str, bundles: list[Path]) -> None:
    expected = states(bundles[0])
    records = [{"id": f"p{place}", "sequence": text} for place, text in enumerate(SEQUENCES)]
    table = "id,sequence\n" + "\n".join(f"{row['id']},{row['sequence']}" for row in records) + "\n"
    split = {"columns": ["sequence", "id"], "data": [[row["sequence"], row["id"]] for row in records]}
    alone = {"columns": ["sequence"], "data": [[text] for text in SEQUENCES]}
    for content, kind, names in (
        ({"inputs": SEQUENCES}, "application/json", ["1", "2", "3"]),
        ({"inputs": records}, "application/json", ["p0", "p1", "p2"]),
        ({"inputs": {"sequence": SEQUENCES}}, "application/json", ["1", "2", "3"]),
        (table, "text/csv", ["p0", "p1", "p2"]),
        ({"dataframe_split": split}, "application/json", ["p0", "p1", "p2"]),
        ({"dataframe_split": alone}, "application/json", ["1", "2", "3"]),
        ({"dataframe_records": records}, "application/json", ["p0", "p1", "p2"]),
        ({"instances": SEQUENCES}, "application/json", ["1", "2", "3"]),
    ):
        rows = ask(served, content, kind)
        assert [row["ss"] for row in rows] == expected
        assert [row["id"] for row in rows] == names
    whole = ask(served, {"inputs": SEQUENCES, "params": {"probabilities": True, "batch_tokens": 64}})
    for row, sequence in zip(whole, SEQUENCES, strict=True):
        assert row["classes"] == "CEH"
        assert row["ss"] == "".join(
            row["classes"][max(range(3), key=one.__getitem__)] for one in row["probabilities"]
        )
        assert len(row["probabilities"]) == len(sequence)
        assert all(abs(sum(one) - 1) < 1e-5 for one in row["probabilities"])
    bad = ask(served, {"inputs": ["MKV", "M-V"]})
    assert [row["error"] is None for row in bad] == [True, False]
    assert bad[1]["mean_confidence"] is None
    tables = [
        {"columns": ["seq"], "data": [["MKV"]]},
        {"columns": ["sequence"], "data": [["MKV", "x"]]},
        {},
        3,
    ]
    for wrong in ({"inputs": [1]}, *({"dataframe_split": table} for table in tables)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(served, wrong)
        assert b"inputs" in (message := caught.value.read()) or b"give a list of sequences" in message
        assert caught.value.code == 400


def test_a_rollback_is_followed_on_the_next_load(mlflow_uri: str, bundles: list[Path]) -> None:
    import mlflow

    def served_now() -> list[str]:
        with process_wide(mlflow_uri):
            model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        return list(model.predict(SEQUENCES)["ss"])

    first, second = (states(directory) for directory in bundles)
    assert first != second
    assert served_now() == first
    codes = ["NOT_PAIRED"]
    registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=POLICY, override=codes)
    assert served_now() == second
    registry.rollback(NAME, uri=mlflow_uri, reason="back", policy=POLICY)
    assert served_now() == first
