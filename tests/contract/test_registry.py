"""A bundle goes into a real MLflow store and comes back: same files, same predictions, right champion."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from liftray.config import Settings
from liftray.errors import BundleError, TrackingError
from liftray.track import ledger, registry
from liftray.track.gates import Refusal
from liftray.track.policy import Policy
from liftray.track.runs import start_run
from liftray.track.store import client

NAME = "tagger"
# For bundles without a model in them: what needs a model, or a whole evaluation, is not asked.
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
    """A stand-in: the files of a bundle without a model in them."""
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
    return registry.register(bundle, run.run_id, uri, NAME)


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


# -- registering and fetching


def test_a_version_has_all_that_a_reader_needs(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow

    made = add_version(mlflow_uri, tmp_path / "a")
    version = client(mlflow_uri).get_model_version(NAME, str(made["version"]))
    assert made["version"] == 1
    assert version.run_id == made["run_id"]
    assert version.status == "READY"
    assert version.aliases == ["candidate"]
    assert version.description.startswith("# LiftRay model, task ss3")
    assert version.tags["liftray.task"] == "ss3"
    assert version.tags["liftray.backbone_digest"] == "b1"
    assert version.tags["liftray.valid_q3"] == "0.800000"
    folder = Path(client(mlflow_uri).get_logged_model(made["model_id"]).artifact_location)
    described = mlflow.models.Model.load(str(folder))
    assert described.signature.params.to_dict()[0]["name"] == "probabilities"
    assert described.signature.inputs.required_input_names() == ["sequence"]
    assert described.signature.inputs.optional_input_names() == ["id"]
    assert [column.name for column in described.signature.outputs.inputs][:4] == [
        "id",
        "sequence",
        "states",
        "confidence",
    ]
    assert json.loads((folder / "input_example.json").read_text())
    required = (folder / "requirements.txt").read_text()
    assert "liftray==" in required
    assert "+cpu" not in required
    outputs = client(mlflow_uri).get_run(made["run_id"]).outputs.model_outputs
    assert [output.model_id for output in outputs] == [made["model_id"]]


def test_nothing_stored_is_a_pickle(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    stored = [
        path for path in (Path(mlflow_uri.removeprefix("sqlite:///")).parent).rglob("*") if path.is_file()
    ]
    assert any(path.name == "pyfunc.py" for path in stored)
    for path in stored:
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".bin", ".joblib")
        assert path.suffix == ".db" or not path.read_bytes().startswith(b"\x80"), "the first byte of a pickle"


def test_registering_prints_nothing(
    mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    assert capfd.readouterr() == ("", "")


def test_a_bundle_may_have_any_name(mlflow_uri: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "my best model")
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = registry.register(bundle, run.run_id, mlflow_uri, NAME)
    for uri in (made["bundle_uri"], made["model_uri"]):
        assert files_of(registry.resolve(uri, mlflow_uri)) == files_of(bundle)


def test_every_name_of_a_model_gives_the_same_bundle(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a")
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    original = files_of(tmp_path / "a" / "bundle")
    for uri in (
        str(tmp_path / "a" / "bundle"),
        f"runs:/{made['run_id']}/bundle",
        f"models:/{NAME}/1",
        f"models:/{NAME}@candidate",
        f"models:/{NAME}@champion",
    ):
        assert files_of(registry.resolve(uri, mlflow_uri)) == original
    assert registry.locate(f"models:/{NAME}@champion", mlflow_uri) == {"name": NAME, "version": 1}
    assert registry.locate(str(tmp_path), mlflow_uri) == {}


def test_a_directory_resolves_without_mlflow(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    code = (
        "import sys; from liftray.track.registry import resolve; resolve(sys.argv[1], 'sqlite:///missing/x.db');"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(bundle)], cwd=tmp_path, check=False).returncode == 0
    )
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "nowhere",
        "models:/",
        "models:/tagger",
        "models:/tagger/0",
        "models:/tagger/../../etc",
        "models:/../tagger/1",
        "models:/tagger/1/../../x",
        "models:/tagger@",
        "models:/%2e%2e/1",
        "runs:/abc/bundle",
        f"runs:/{'0' * 32}/../../bundle",
        f"runs:/{'0' * 32}/other",
    ],
)
def test_what_names_no_model_is_refused_before_the_store(uri: str, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    with pytest.raises(BundleError, match="models:/NAME@champion"):
        registry.resolve(uri, f"sqlite:///{store}")
    assert not store.exists()


def test_what_is_missing_is_told_with_what_there_is(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    for uri, told in (
        ("models:/other/1", f"there are: {NAME}"),
        (f"models:/{NAME}/9", "@candidate, 1"),
        (f"models:/{NAME}@champion", "@candidate, 1"),
    ):
        with pytest.raises(TrackingError, match=told):
            registry.resolve(uri, mlflow_uri)
    with pytest.raises(TrackingError):
        registry.resolve(f"runs:/{'0' * 32}/bundle", mlflow_uri)


def test_a_stored_bundle_that_was_changed_is_refused(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a")
    folder = Path(client(mlflow_uri).get_logged_model(made["model_id"]).artifact_location)
    changed = folder / "artifacts" / "bundle" / "bundle.json"
    changed.write_text(changed.read_text().replace("0.8", "0.9"))
    with pytest.raises(BundleError, match="not the one that was registered"):
        registry.resolve(f"models:/{NAME}/1", mlflow_uri)


def test_links_and_unsafe_formats_are_refused_both_ways(mlflow_uri: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        pass
    (bundle / "extra.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(BundleError, match=r"extra\.pkl"):
        registry.register(bundle, run.run_id, mlflow_uri, NAME)
    (bundle / "extra.pkl").unlink()
    (bundle / "secret").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="link"):
        registry.resolve(str(bundle), mlflow_uri)
    with pytest.raises(BundleError, match="link"):
        registry.register(bundle, run.run_id, mlflow_uri, NAME)
    assert not client(mlflow_uri).search_registered_models()
    (bundle / "secret").unlink()
    registry.register(bundle, run.run_id, mlflow_uri, "")
    stored = Path(client(mlflow_uri).get_run(run.run_id).info.artifact_uri) / "bundle"
    (stored / "evil.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(BundleError, match=r"evil\.pkl"):
        registry.resolve(f"runs:/{run.run_id}/bundle", mlflow_uri)


def test_without_a_name_only_the_run_has_the_bundle(mlflow_uri: str, tmp_path: Path) -> None:
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = registry.register(write_bundle(tmp_path / "bundle"), run.run_id, mlflow_uri, "")
    assert made == {"run_id": run.run_id, "bundle_uri": f"runs:/{run.run_id}/bundle"}
    assert not client(mlflow_uri).search_registered_models()


def test_a_name_that_mlflow_refuses_is_told(mlflow_uri: str, tmp_path: Path) -> None:
    with (
        start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run,
        pytest.raises(TrackingError),
    ):
        registry.register(write_bundle(tmp_path / "bundle"), run.run_id, mlflow_uri, "a/b:c")


# -- promotion


def test_a_champion_comes_goes_and_comes_back(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a", correct=[70] * 10)
    first = registry.promote(NAME, uri=mlflow_uri, reason="first one", policy=LENIENT)
    assert first["changed"]
    assert (first["version"], first["previous"]) == (1, None)
    add_version(mlflow_uri, tmp_path / "b", correct=[70] * 9 + [75])
    second = registry.promote(NAME, 2, uri=mlflow_uri, reason="better", policy=LENIENT)
    assert gate(second, "primary")["evidence"]["paired"]["num_chains"] == 10
    assert champion(mlflow_uri) == 2
    back = registry.rollback(NAME, uri=mlflow_uri, reason="fails on long chains")
    assert (back["version"], back["previous"]) == (1, 2)
    assert champion(mlflow_uri) == 1
    with pytest.raises(Refusal, match="NOTHING_BEFORE"):
        registry.rollback(NAME, uri=mlflow_uri, reason="again")
    told = registry.history(NAME, uri=mlflow_uri)
    assert [(entry["action"], entry["version"], entry["previous"]) for entry in told] == [
        ("promote", 1, None),
        ("promote", 2, 1),
        ("rollback", 1, 2),
    ]
    assert told[1]["evidence"]["difference"] == pytest.approx(0.005)
    assert told[2]["reason"] == "fails on long chains"
    shown = registry.show(NAME, uri=mlflow_uri)
    assert shown["aliases"] == {"candidate": 2, "champion": 1}
    assert [version["version"] for version in shown["versions"]] == [1, 2]
    assert shown["ledger"]["entries"] == 3


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"correct": [60] * 10}, "SCORE_LOWER"),
        ({"q3": 0.6}, "SCORE_LOWER"),
        ({"q3": 0.9, "data": "d2"}, "DATA_DIFFERS"),
        ({"q3": 0.9, "task": "ss8"}, "TASK_DIFFERS"),
        ({"q3": None}, "NO_SCORE"),
    ],
)
def test_a_refusal_says_why_and_changes_nothing(
    mlflow_uri: str, tmp_path: Path, info: dict[str, Any], reason: str
) -> None:
    add_version(mlflow_uri, tmp_path / "a", correct=[70] * 10)
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    add_version(mlflow_uri, tmp_path / "b", **info)
    before = state(mlflow_uri)
    for dry_run in (True, False):
        with pytest.raises(Refusal) as caught:
            registry.promote(NAME, uri=mlflow_uri, reason="please", dry_run=dry_run, policy=LENIENT)
        assert reason in caught.value.reasons
        assert caught.value.exit_code == 3
        assert caught.value.verdict["verdict"]["passed"] is False
        assert state(mlflow_uri) == before


def test_scores_come_from_the_run_where_the_bundle_has_none(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a", q3=None)
    client(mlflow_uri).log_metric(made["run_id"], "valid/q3", 0.75)
    assert (
        registry.promote(NAME, uri=mlflow_uri, reason="x", policy=LENIENT)["verdict"]["gates"][1]["evidence"][
            "candidate"
        ]
        == 0.75
    )


def test_a_dry_run_changes_nothing(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    before = state(mlflow_uri)
    result = registry.promote(NAME, uri=mlflow_uri, dry_run=True, policy=LENIENT)
    assert result["verdict"]["passed"]
    assert not result["changed"]
    assert state(mlflow_uri) == before


def test_promoting_the_champion_again_changes_nothing(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    before = state(mlflow_uri)
    assert not registry.promote(NAME, uri=mlflow_uri, reason="again", policy=LENIENT)["changed"]
    assert state(mlflow_uri) == before


def test_proposing_moves_the_candidate_only(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="first", policy=LENIENT)
    proposed = registry.propose(NAME, 1, uri=mlflow_uri, policy=LENIENT)
    assert proposed["verdict"]["passed"]
    assert registry.show(NAME, uri=mlflow_uri)["aliases"] == {"candidate": 1, "champion": 2}
    with pytest.raises(TrackingError, match="no version 7"):
        registry.propose(NAME, 7, uri=mlflow_uri)


def test_an_alias_moved_by_other_hands_stops_everything(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    client(mlflow_uri).set_registered_model_alias(NAME, "champion", "2")
    before = state(mlflow_uri)
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.promote(NAME, 3, uri=mlflow_uri, reason="x", policy=LENIENT)
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.rollback(NAME, uri=mlflow_uri, reason="x")
    assert state(mlflow_uri) == before


def test_entries_cut_off_the_ledgers_end_are_found(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)
    client(mlflow_uri).delete_registered_model_tag(NAME, "liftray.ledger.000002")
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.promote(NAME, 1, uri=mlflow_uri, reason="x", policy=LENIENT)


def test_a_move_that_was_recorded_but_not_made_can_be_finished(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)
    # As a process that died between its two writes leaves it.
    client(mlflow_uri).set_registered_model_alias(NAME, "champion", "1")
    assert registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)["changed"]
    assert champion(mlflow_uri) == 2
    assert len(registry.history(NAME, uri=mlflow_uri)) == 2


def test_of_two_promoters_at_once_one_wins_and_the_other_is_told(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    ready, results, told = threading.Barrier(2), [], []

    def work(version: int) -> None:
        ready.wait()
        try:
            results.append(
                registry.promote(NAME, version, uri=mlflow_uri, reason=f"number {version}", policy=LENIENT)
            )
        except Refusal as refusal:
            told.append(refusal.reasons)

    threads = [threading.Thread(target=work, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = ledger.read(client(mlflow_uri), mlflow_uri, NAME)
    assert len(results) + len(told) == 2
    assert [entry["version"] for entry in entries] == [result["version"] for result in results]
    assert champion(mlflow_uri) == entries[-1]["version"]
    assert all(reasons in (["CONCURRENT"], ["ALIAS_MOVED"]) for reasons in told)


# -- the loaded model


@pytest.fixture(scope="module")
def real_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny random ESM backbone that lies in a directory."""
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
print(json.dumps({**table[["states", "probabilities"]].to_dict("list"), "heavy": heavy}))
"""


def test_the_champion_loads_as_pyfunc_without_pickle_and_predicts_the_same(
    mlflow_uri: str, tmp_path: Path, real_bundle: Path
) -> None:
    from liftray.predict.predictor import Predictor

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        run.log_dataset("valid", "small", "d1", "/absent")
        registry.register(real_bundle, run.run_id, mlflow_uri, NAME)
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    command = [sys.executable, "-c", _PREDICT, mlflow_uri, f"models:/{NAME}@champion", json.dumps(SEQUENCES)]
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = list(Predictor.load(real_bundle).predict([(str(n), text) for n, text in enumerate(SEQUENCES)]))
    assert found["states"] == [prediction.states for prediction in expected]
    for given, prediction in zip(found["probabilities"], expected, strict=True):
        # Same weights and code in another process; batch composition is the same too.
        np.testing.assert_allclose(given, prediction.probabilities_LC, rtol=0, atol=1e-6)
    assert found["heavy"] == []


def test_pyfunc_takes_every_form_of_input(mlflow_uri: str, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.store import scoped

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = registry.register(real_bundle, run.run_id, mlflow_uri, NAME)
    with scoped(mlflow_uri):
        model = mlflow.pyfunc.load_model(made["model_uri"])
    states = list(model.predict(SEQUENCES)["states"])
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
        assert list(table["states"]) == states
        assert list(table.columns) == ["id", "sequence", "states", "confidence", "error"]
    assert list(model.predict(SEQUENCES[0])["states"]) == states[:1]
    assert list(model.predict({"sequence": SEQUENCES[0]})["states"]) == states[:1]
    assert list(model.predict(SEQUENCES, params={"batch_tokens": 8})["states"]) == states
    assert len(model.predict([])) == 0
    for bad in (pd.DataFrame({"id": names}), [1, 2], [None], [{"sequence": "MK"}, {"id": "x"}], 3):
        with pytest.raises(ValueError, match="give a list of sequences"):
            model.predict(bad)


def test_a_bad_sequence_costs_one_row_and_no_more(mlflow_uri: str, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.store import scoped

    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = registry.register(real_bundle, run.run_id, mlflow_uri, NAME)
    with scoped(mlflow_uri):
        model = mlflow.pyfunc.load_model(made["model_uri"])
    table = model.predict(["MKV", "M-V", "", "GGG"], params={"probabilities": True})
    assert list(table["error"].notna()) == [False, True, True, False]
    assert list(table["confidence"].isna()) == [False, True, True, False]
    assert [len(states) for states in table["states"]] == [3, 0, 0, 3]
    assert [len(rows) for rows in table["probabilities"]] == [3, 0, 0, 3]
    assert np.allclose([sum(row) for row in table["probabilities"][0]], 1)


# -- a server


@pytest.mark.slow
def test_the_whole_way_works_over_a_server(mlflow_server: str, tmp_path: Path, real_bundle: Path) -> None:
    import mlflow

    from liftray.track.store import scoped

    settings = Settings().replace({"tracking.uri": f"{mlflow_server}/"})
    with start_run(settings, system_metrics_s=None) as run:
        run.log_steps([(step, {"train/loss": 1.0}) for step in range(1500)])
        run.log_dataset("train", "big", "a" * 64, "/data/big")
        run.log_dataset("valid", "small", "d1", "/absent")
        made = registry.register(real_bundle, run.run_id, mlflow_server, NAME)
    registry.promote(NAME, uri=mlflow_server, reason="first", policy=LENIENT)
    for uri in (made["bundle_uri"], f"models:/{NAME}/1", f"models:/{NAME}@champion"):
        assert files_of(registry.resolve(uri, mlflow_server)) == files_of(real_bundle)
    with scoped(mlflow_server):
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert len(model.predict(SEQUENCES)) == 3
    worse = tmp_path / "worse"
    shutil.copytree(real_bundle, worse)
    info = json.loads((worse / "bundle.json").read_text())
    (worse / "bundle.json").write_text(json.dumps({**info, "metrics": {"valid": {"q3": 0.4}}}))
    with start_run(settings, system_metrics_s=None) as second:
        second.log_dataset("valid", "small", "d1", "/absent")
        registry.register(worse, second.run_id, mlflow_server, NAME)
    with pytest.raises(Refusal, match="SCORE_LOWER"):
        registry.promote(NAME, uri=mlflow_server, reason="x", policy=LENIENT)
    assert champion(mlflow_server) == 1
    with pytest.raises(TrackingError, match="@candidate, @champion, 1, 2"):
        registry.resolve(f"models:/{NAME}/9", mlflow_server)
