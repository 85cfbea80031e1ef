import json
import math
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

import liftray
from liftray.config import Settings
from liftray.errors import TrackingError
from liftray.results import score_rows
from liftray.track.mlflow.mlflow_run import MlflowRun
from liftray.track.mlflow.runs import attach, start_run
from liftray.track.mlflow.store import client, process_wide


def _settings(uri: str, **overrides: object) -> Settings:
    return Settings().replace({"tracking.uri": uri, **overrides})


def _start(uri: str, **keywords: object) -> MlflowRun:
    return start_run(_settings(uri), system_metrics_s=None, **keywords)  # type: ignore[arg-type]


def test_a_run_records_config_code_and_versions(mlflow_uri: str, tmp_path: Path) -> None:
    settings = _settings(mlflow_uri, **{"adapter.skip_layers": 4, "data.train": {"big": "x" * 7000}})
    with start_run(settings, tags={"mine": "yes"}, system_metrics_s=None) as run:
        pass
    found = client(mlflow_uri).get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params.keys() == settings.flat().keys()
    assert found.data.params["adapter.skip_layers"] == "4"
    assert len(found.data.params["data.train"]) == 6000
    assert found.data.tags["mine"] == "yes"
    assert found.data.tags["liftray.version"] == liftray.__version__
    assert "torch" in json.loads(found.data.tags["liftray.versions"])
    assert re.fullmatch(r"ss3-bottleneck-r64-k4-linear-seed0-[\w.]+-\d{8}-\d{6}", found.info.run_name)
    stored = Path(client(mlflow_uri).download_artifacts(run.run_id, "config.yaml", str(tmp_path)))
    assert yaml.safe_load(stored.read_text())["adapter"]["skip_layers"] == 4


def test_files_are_next_to_the_store_and_not_in_the_working_directory(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with _start(mlflow_uri) as run:
        run.log_text("hello", "notes/a.txt")
    stored = Path(client(mlflow_uri).get_run(run.run_id).info.artifact_uri) / "notes" / "a.txt"
    assert stored.read_text() == "hello"
    assert stored.is_relative_to(Path(mlflow_uri.removeprefix("sqlite:///")).parent)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_checkout_names_its_commit(mlflow_uri: str) -> None:
    root = Path(liftray.__file__).resolve().parents[1]
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this copy of LiftRay is no git checkout with a commit")
    with _start(mlflow_uri) as run:
        pass
    tags = client(mlflow_uri).get_run(run.run_id).data.tags
    assert tags["mlflow.source.git.commit"] == done.stdout.strip()
    assert tags["mlflow.source.git.dirty"] in ("true", "false")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("broken"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(130), "KILLED"),
        (SystemExit(2), "FAILED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_a_run_ends_as_its_block_did(mlflow_uri: str, error: BaseException, status: str) -> None:
    run = _start(mlflow_uri)
    with pytest.raises(type(error)), run:
        raise error
    found = client(mlflow_uri).get_run(run.run_id)
    assert found.info.status == status
    assert found.data.tags["liftray.error"].startswith(type(error).__name__)


def test_metrics_in_many_calls_keep_their_steps(mlflow_uri: str) -> None:
    steps = [(step, {"train/loss": 1 / (step + 1), "train/none": None}) for step in range(2500)]
    with _start(mlflow_uri) as run:
        run.log_steps(steps)
        run.log_metrics({"test/my set (2)!/q3": 0.5, "valid/q3": float("nan")}, step=3)
    store = client(mlflow_uri)
    history = sorted(store.get_metric_history(run.run_id, "train/loss"), key=lambda metric: metric.step)
    assert [(metric.step, metric.value) for metric in history] == [
        (step, 1 / (step + 1)) for step in range(2500)
    ]
    metrics = store.get_run(run.run_id).data.metrics
    assert metrics["test/my set _2__/q3"] == 0.5
    assert math.isnan(metrics["valid/q3"])
    assert "train/none" not in metrics


def test_a_run_page_shows_scores_and_the_table_holds_the_intervals(mlflow_uri: str, tmp_path: Path) -> None:
    scores = {
        "q3": 0.8,
        "q3_ci95": [0.7, 0.9],
        "num_chains": 4,
        "ss3_map": "dssp",
        "sov99": None,
        "confusion": {},
    }
    with _start(mlflow_uri) as run:
        run.log_scores("test/CASP12", scores)
        for _ in range(2):  # as a resumed run does
            run.log_score_table(score_rows({"model": {"CASP12": scores}}))
    logged = client(mlflow_uri).get_run(run.run_id).data
    assert logged.metrics == {"test/CASP12/q3": 0.8}
    assert json.loads(logged.tags["mlflow.loggedArtifacts"]) == [{"path": "scores.json", "type": "table"}]
    with process_wide(mlflow_uri):  # MLflow searches runs in the process-wide store
        experiment = client(mlflow_uri).get_run(run.run_id).info.experiment_id
        table = client(mlflow_uri).load_table(experiment, "scores.json", [run.run_id])
    assert table[["model", "set", "score", "value"]].to_numpy().tolist() == [
        ["model", "CASP12", "q3", 0.8],
        ["model", "CASP12", "num_chains", 4],
    ]
    assert table["ci95_low"].tolist()[0] == pytest.approx(0.7)


def test_data_sets_carry_their_whole_digest_and_their_split(mlflow_uri: str) -> None:
    digest = "a1" * 32
    with _start(mlflow_uri) as run:
        run.log_dataset("train", "big", digest, "/data/big")
        run.log_dataset("test", "CASP12", "b2" * 32, "/data/casp")
    inputs = client(mlflow_uri).get_run(run.run_id).inputs.dataset_inputs
    found = {entry.dataset.name: {tag.key: tag.value for tag in entry.tags} for entry in inputs}
    assert found["big"] == {"mlflow.data.context": "train", "liftray.digest": digest}
    assert found["CASP12"]["mlflow.data.context"] == "test"


def test_a_resumed_run_is_the_same_run(mlflow_uri: str) -> None:
    first = _start(mlflow_uri)
    first.log_metrics({"train/loss": 2.0}, step=1)
    with pytest.raises(KeyboardInterrupt), first:
        raise KeyboardInterrupt
    changed = _settings(mlflow_uri, **{"scaling.num_workers": 2})
    with start_run(changed, run_id=first.run_id, system_metrics_s=None) as second:
        assert client(mlflow_uri).get_run(first.run_id).info.status == "RUNNING"
        second.log_metrics({"train/loss": 1.0}, step=2)
    found = client(mlflow_uri).get_run(first.run_id)
    assert second.run_id == first.run_id
    assert found.info.status == "FINISHED"
    assert found.data.params["scaling.num_workers"] == "1"
    assert json.loads(found.data.tags["liftray.resumed_with"]) == {"scaling.num_workers": "2"}
    assert len(client(mlflow_uri).get_metric_history(first.run_id, "train/loss")) == 2


def test_a_run_that_is_gone_cannot_be_resumed(mlflow_uri: str) -> None:
    with pytest.raises(TrackingError, match=r"train\.resume=false"):
        _start(mlflow_uri, run_id="0" * 32)
    with _start(mlflow_uri) as run:
        pass
    client(mlflow_uri).delete_run(run.run_id)
    with pytest.raises(TrackingError, match="is deleted"):
        _start(mlflow_uri, run_id=run.run_id)


def test_a_deleted_experiment_is_reported(mlflow_uri: str) -> None:
    experiment = client(mlflow_uri).create_experiment("liftray")
    client(mlflow_uri).delete_experiment(experiment)
    with pytest.raises(TrackingError, match=r"tracking\.experiment"):
        _start(mlflow_uri)


def test_trials_hang_below_their_search(mlflow_uri: str) -> None:
    with _start(mlflow_uri) as search, _start(mlflow_uri, parent_run_id=search.run_id) as trial:
        pass
    assert client(mlflow_uri).get_run(trial.run_id).data.tags["mlflow.parentRunId"] == search.run_id


def test_another_process_writes_to_the_run_and_does_not_end_it(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "curve.txt").write_text("up")
    code = (
        "import sys; from liftray.track.mlflow.runs import attach\n"
        "run = attach(sys.argv[1], sys.argv[2])\n"
        "run.log_metrics({'valid/q3': 0.7}, step=5); run.log_artifacts(sys.argv[3], 'plots')"
    )
    with _start(mlflow_uri) as run:
        command = [sys.executable, "-c", code, mlflow_uri, run.run_id, str(tmp_path / "plots")]
        subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ})
        attach(mlflow_uri, run.run_id).log_artifacts(tmp_path / "plots" / "curve.txt")
        found = client(mlflow_uri).get_run(run.run_id)
        assert found.info.status == "RUNNING"
        assert found.data.metrics == {"valid/q3": 0.7}
        paths = {entry.path for entry in client(mlflow_uri).list_artifacts(run.run_id)}
        assert {"plots", "curve.txt", "config.yaml"} <= paths


def test_system_metrics_are_sampled(mlflow_uri: str) -> None:
    with start_run(_settings(mlflow_uri), system_metrics_s=0.05) as run:
        store = client(mlflow_uri)
        for _ in range(2000):  # bounded by polls, each a query
            run.log_metrics({"train/loss": 1.0})
            if any(name.startswith("system/") for name in store.get_run(run.run_id).data.metrics):
                break
    names = store.get_run(run.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in names


def test_a_lost_store_is_reported_and_does_not_hide_the_first_failure(mlflow_uri: str) -> None:
    run = MlflowRun(mlflow_uri, "0" * 32)
    with pytest.raises(TrackingError):
        run.log_metrics({"train/loss": 1.0})
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError


def test_no_process_wide_state_is_left(mlflow_uri: str) -> None:
    import mlflow

    with _start(mlflow_uri):
        assert mlflow.active_run() is None
    assert not mlflow.is_tracking_uri_set()


@pytest.mark.parametrize(
    "secret",
    [
        "s3://KEY:{}/x+y@bucket/d",
        "https://me:{}@host/x",
        "https://{}@host",
        "https://h/a?token={}",
        "gs://b?X-Goog-Signature={}",
    ],
)
def test_no_credential_reaches_the_store_or_its_files(secret: str, mlflow_uri: str) -> None:
    text = secret.format("hUsh7Hush")
    error = ValueError(f"cannot open {text} now")
    with suppress(ValueError), _start(mlflow_uri, tags={"place": text}) as run:
        run.log_params({"a": text, "b": [text], "c": {"d": text}})
        run.log_params({"a": f"{text} again"})
        run.tag({"other": f"see {text}"})
        run.log_text(f"data: {text}\n", "notes/a.yaml")
        run.log_dataset("train", "set", "sha256:1", text)
        raise error
    folder = Path(mlflow_uri.removeprefix("sqlite:///")).parent
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(b"***" in content for content in kept)
    assert all(b"hUsh7Hush" not in content for content in kept)
