"""The registered model as MLflow loads it, from a local store and over a server: same predictions, no pickle."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from liftray import sealed
from liftray.config import Settings
from liftray.errors import TrackingError
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.promotion import registry
from liftray.track.promotion.verdict import Refusal
from tests.parts.registry_parts import LENIENT, NAME, champion, files_of


@pytest.fixture(scope="module")
def real_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny random ESM backbone in a directory."""
    from safetensors.torch import save_file as save_tensors

    from liftray.adapt import tagger
    from liftray.adapt.tagger import TaggerSettings
    from liftray.backbone import model, sources
    from liftray.predict import bundle

    folder = tmp_path_factory.mktemp("real")
    config = {
        "vocab_size": 33,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "position_embedding_type": "rotary",
        "layer_norm_eps": 1e-5,
        "token_dropout": True,
    }
    weights = folder / "backbone"
    weights.mkdir()
    save_tensors(model.from_config("esm", config, seed=1).hf.state_dict(), weights / "model.safetensors")
    (weights / "config.json").write_text(json.dumps({"model_type": "esm", **config}))
    settings = Settings().replace({"adapter.reduction_factor": 4})
    backbone = model.load(sources.resolve([str(weights)]))
    made = tagger.build(backbone, TaggerSettings.of(settings), seed=3)
    details = {"data": {"valid": {"small": "d1"}}, "metrics": {"valid": {"q3": 0.5}}}
    bundle.save(made, folder / "bundle", [str(weights)], details)
    return folder / "bundle"


SEQUENCES = ["MKVLAAGIT", "ACDEFGHIKLMNPQRSTVWY" * 3, "GG"]
_PREDICT = """
import json, pickle, sys
class Refuse:
    def __init__(self, *a, **k): raise RuntimeError("a pickle was opened")
pickle.Unpickler = Refuse
pickle.load = pickle.loads = Refuse
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
table = model.predict(json.loads(sys.argv[3]), params={"probabilities": True})
heavy = [name for name in ("ray", "deepspeed") if name in sys.modules]
print(json.dumps({**table[["ss", "probabilities"]].to_dict("list"), "heavy": heavy}))
"""


def test_the_champion_loads_as_pyfunc_without_pickle_and_predicts_the_same(
    mlflow_uri: str, tmp_path: Path, real_bundle: Path
) -> None:
    from liftray.predict.predictor import Predictor

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        run.log_dataset("valid", "small", "d1", "/absent")
        versions.register(real_bundle, run.run_id, mlflow_uri, NAME)
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    command = [sys.executable, "-c", _PREDICT, mlflow_uri, f"models:/{NAME}@champion", json.dumps(SEQUENCES)]
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = list(Predictor.load(real_bundle).predict([(str(n), text) for n, text in enumerate(SEQUENCES)]))
    assert found["ss"] == [prediction.states for prediction in expected]
    for given, prediction in zip(found["probabilities"], expected, strict=True):
        # Same weights and code in another process; batch composition is the same too.
        np.testing.assert_allclose(given, prediction.probabilities_LC, rtol=0, atol=1e-6)
    assert found["heavy"] == []


def test_pyfunc_takes_every_form_of_input(mlflow_uri: str, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.mlflow.store import process_wide

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = versions.register(real_bundle, run.run_id, mlflow_uri, NAME)
    with process_wide(mlflow_uri):
        model = mlflow.pyfunc.load_model(made["model_uri"])
    states = list(model.predict(SEQUENCES)["ss"])
    assert [len(one) for one in states] == [len(one) for one in SEQUENCES]
    names = ["x", "y", "z"]
    records = [{"id": name, "sequence": text} for name, text in zip(names, SEQUENCES, strict=True)]
    for given, ids in (
        (pd.DataFrame({"sequence": SEQUENCES}), ["1", "2", "3"]),
        (pd.DataFrame({"id": names, "sequence": SEQUENCES}), names),
        (pd.DataFrame({"sequence": SEQUENCES, "other": names, "id": names}), names),
        (pd.Series(SEQUENCES), ["1", "2", "3"]),
        (pa.array(SEQUENCES), ["1", "2", "3"]),
        (pa.table({"id": names, "sequence": SEQUENCES}), names),
        (pa.table({"id": names, "sequence": SEQUENCES}).to_batches()[0], names),
        (np.array(SEQUENCES), ["1", "2", "3"]),
        ({"id": names, "sequence": SEQUENCES}, names),
        (records, names),
    ):
        table = model.predict(given)
        assert list(table["id"]) == ids
        assert list(table["ss"]) == states
        assert list(table.columns) == ["id", "sequence", "ss", "mean_confidence", "error"]
    assert list(model.predict(SEQUENCES[0])["ss"]) == states[:1]
    assert list(model.predict({"sequence": SEQUENCES[0]})["ss"]) == states[:1]
    assert list(model.predict(SEQUENCES, params={"batch_tokens": 8})["ss"]) == states
    assert len(model.predict([])) == 0
    for bad in (pd.DataFrame({"id": names}), [1, 2], [None], [{"sequence": "MK"}, {"id": "x"}], 3):
        with pytest.raises(ValueError, match="give a list of sequences"):
            model.predict(bad)


def test_a_bad_sequence_costs_one_row_and_no_more(mlflow_uri: str, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.mlflow.store import process_wide

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = versions.register(real_bundle, run.run_id, mlflow_uri, NAME)
    with process_wide(mlflow_uri):
        model = mlflow.pyfunc.load_model(made["model_uri"])
    table = model.predict(["MKV", "M-V", "", "GGG"], params={"probabilities": True})
    assert list(table["error"].notna()) == [False, True, True, False]
    assert list(table["mean_confidence"].isna()) == [False, True, True, False]
    assert [len(states) for states in table["ss"]] == [3, 0, 0, 3]
    assert [len(rows) for rows in table["probabilities"]] == [3, 0, 0, 3]
    assert np.allclose([sum(row) for row in table["probabilities"][0]], 1)


@pytest.mark.slow
def test_the_whole_way_works_over_a_server(mlflow_server: str, tmp_path: Path, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.mlflow.store import process_wide

    settings = Settings().replace({"tracking.uri": f"{mlflow_server}/"})
    with start_run(settings, system_metrics_s=None) as run:
        run.log_steps([(step, {"train/loss": 1.0}) for step in range(1500)])
        run.log_dataset("train", "big", "a" * 64, "/data/big")
        run.log_dataset("valid", "small", "d1", "/absent")
        made = versions.register(real_bundle, run.run_id, mlflow_server, NAME)
    registry.promote(NAME, uri=mlflow_server, reason="first", policy=LENIENT)
    for uri in (made["bundle_uri"], f"models:/{NAME}/1", f"models:/{NAME}@champion"):
        assert files_of(versions.resolve(uri, mlflow_server)) == files_of(real_bundle)
    with process_wide(mlflow_server):
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert len(model.predict(SEQUENCES)) == 3
    worse = tmp_path / "worse"
    shutil.copytree(real_bundle, worse)
    info = json.loads((worse / "bundle.json").read_text())
    sealed.write_json(worse / "bundle.json", {**info, "metrics": {"valid": {"q3": 0.4}}})
    with start_run(settings, system_metrics_s=None) as second:
        second.log_dataset("valid", "small", "d1", "/absent")
        versions.register(worse, second.run_id, mlflow_server, NAME)
    with pytest.raises(Refusal, match="SCORE_LOWER"):
        registry.promote(NAME, uri=mlflow_server, reason="x", policy=LENIENT)
    assert champion(mlflow_server) == 1
    with pytest.raises(TrackingError, match="@candidate, @champion, 1, 2"):
        versions.resolve(f"models:/{NAME}/9", mlflow_server)
