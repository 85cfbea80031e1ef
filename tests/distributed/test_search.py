"""Whole searches: Ray Tune over training runs, with real MLflow."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from liftray import files
from liftray.predict import bundle
from liftray.search.ledger import Ledger
from liftray.search.space import trial_name
from liftray.search.tune import search
from liftray.track.mlflow.store import client
from liftray.train import checkpoint, launch
from liftray.train.prepare import prepare_run
from tests.parts import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("ray_cluster"),
]

_PATIENCE_S = 120
_Q3 = "valid/q3"


def _checkpoints(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("trials/*/checkpoints/step-*/state.json")}


def test_the_best_trial_is_registered_and_a_second_search_repeats_none(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "search"
    chosen = tiny.settings(
        **{
            **parts,
            "data__test": {"held": tiny.dataset(tmp_path / "h", tiny.chains([50, 70], seed=9, name="h"))},
            "cache__enabled": True,
            "cache__dir": str(tmp_path / "cache"),
            "train__epochs": 2,
            "run__dir": str(out),
            "tracking__uri": mlflow_uri,
            "registry__name": "searched",
            "search__space": {"adapter.skip_layers": [0, 1]},
        }
    )
    first = search(chosen)
    assert [(row["state"], row["reason"]) for row in first["trials"]] == [("finished", "all 2 epochs")] * 2
    top = max(first["trials"], key=lambda row: row["metrics"][_Q3])
    assert first["best"]["config"] == top["config"]
    assert first["best"]["metrics"]["valid"]["q3"] == pytest.approx(top["metrics"][_Q3], abs=1e-6)
    assert set(first["best"]["metrics"]) == {"valid", "held"}
    info = bundle.read_info(first["best"]["bundle"])
    assert info["adapter"]["skip_layers"] == top["config"]["adapter.skip_layers"]
    # Both cuts are stored, by one job, so no trial computed a prefix.
    assert "cache: blocks 1, 2: " in capfd.readouterr().err
    assert all(one.cached for one in Ledger(out).trials)
    assert {path.name for path in out.glob("*.*")} >= {"report.html", "report.md", "pareto.png", "trials.csv"}
    assert first["answer"][0].startswith(f"The best is trial {top['number']} ")

    store = client(mlflow_uri)
    version = store.get_model_version_by_alias("searched", "candidate")
    assert version.run_id == first["best"]["run_id"]
    assert version.tags["liftray.search_run"] == first["run_id"]
    runs = store.search_runs([store.get_run(first["run_id"]).info.experiment_id])
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == first["run_id"]]
    assert len(children) == 2
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.tags["liftray.stop_reason"] == "all 2 epochs"
        assert run.data.params["data.test"] == "{}", "a trial was given a test set"
        losses = store.get_metric_history(run.info.run_id, "train/loss")
        assert sorted(point.step for point in losses) == [1, 2]
        scored = {name for name in run.data.metrics if name.startswith("test/")}
        assert bool(scored) == (run.info.run_id == first["best"]["run_id"])

    before = _checkpoints(out)
    second = search(chosen)
    assert _checkpoints(out) == before, "a finished trial was trained again"
    assert second["best"]["config"] == first["best"]["config"]
    assert second["best"]["metrics"] == first["best"]["metrics"]


def test_a_killed_in_process_trial_takes_the_steps_of_ray_train(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    """Tolerance: none. The trial's process is killed by SIGKILL once its first epoch is stored."""
    chosen = tiny.settings(
        **{
            **parts,
            "run__dir": str(tmp_path / "search"),
            "tracking__uri": mlflow_uri,
            "registry__name": "",
            "search__space": {"train.lr": [1e-3]},
        }
    )
    killed: list[int] = []
    watcher = threading.Thread(target=_kill_the_trial, args=(tmp_path / "search", killed))
    watcher.start()
    result = search(chosen)
    watcher.join()
    assert len(killed) == 1
    assert [(row["state"], row["epochs"]) for row in result["trials"]] == [("finished", 4)]
    [one] = Ledger(tmp_path / "search").trials
    ours = checkpoint.newest(Ledger(tmp_path / "search").directory(one) / "checkpoints")
    theirs = launch.fit(prepare_run(chosen), tmp_path / "plain", [])
    assert ours is not None
    assert ours.progress.step_losses == theirs.progress.step_losses
    assert [record[_Q3] for record in ours.progress.history] == [r[_Q3] for r in theirs.progress.history]
    assert one.metrics["peak_memory_gb"] > 0.05
    points = client(mlflow_uri).get_metric_history(str(one.run_id), _Q3)
    # One value an epoch, though the one in which the process was killed may have been sent twice; the last epoch also
    # has the evaluation of the weights that were kept.
    sent = {(point.step, point.value) for point in points if point.step < 4}
    assert sorted(step for step, _ in sent) == [1, 2, 3]
    assert points[-1].step == 4


def _kill_the_trial(out: Path, killed: list[int]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not killed and time.monotonic() < until:
        if _checkpoints(out):
            for process in _trial_processes():
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
        time.sleep(0.005)  # a poll: the loop ends when the checkpoint is there


def _trial_processes() -> list[psutil.Process]:
    """Processes of this test's cluster that run trials."""
    result = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(
                "ray::ImplicitFunc"
            ):  # what Tune calls a trial's process
                result.append(process)
    return result


def test_trials_that_are_stopped_early_free_their_processes_at_once(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    chosen = tiny.settings(
        **{
            **parts,
            "run__dir": str(tmp_path / "search"),
            "tracking__uri": mlflow_uri,
            "registry__name": "",
            # The first two set a mark that the others, which hardly move, miss at their first epoch; 1 in 25 continues.
            # One batch a step: an epoch is long enough for the mark.
            "train__micro_batches_per_step": 1,
            "search__space": {"train.lr": [3e-2, 1e-2, *(1e-6 * number for number in range(1, 22))]},
            "search__scheduler": "asha",
            "search__halving": 25,
            "search__max_concurrent": 2,
        }
    )
    result = search(chosen)
    stopped = [row for row in result["trials"] if row["state"] == "stopped"]
    assert len(result["trials"]) == 23
    assert len(stopped) >= 20
    assert all(row["reason"].startswith("asha at epoch") for row in stopped)
    assert all(row["epochs"] < 4 for row in stopped), "a stopped trial continued"
    until = time.monotonic() + _PATIENCE_S
    while _trial_processes() and time.monotonic() < until:
        time.sleep(0.05)  # a poll: the loop ends when the processes have
    assert not _trial_processes()
    groups = [group["state"] for group in ray.util.placement_group_table().values()]
    assert set(groups) <= {"REMOVED"}
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
    store = client(mlflow_uri)
    for row in result["trials"]:
        run = store.get_run(row["run_id"])
        assert run.info.status == ("FINISHED" if row["state"] == "finished" else "KILLED")
        assert run.data.tags["liftray.stop_reason"] == row["reason"]


def test_a_trial_that_fails_is_reported_and_the_others_continue_within_the_budget(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    chosen = tiny.settings(
        **{
            **parts,
            "train__epochs": 2,
            "run__dir": str(tmp_path / "search"),
            "tracking__uri": mlflow_uri,
            "registry__name": "",
            "search__space": {"train.lr": [1e-3, 1e-2]},
        }
    )
    # What an earlier search left is damaged, which only the trial itself detects.
    damaged = (
        tmp_path / "search" / "trials" / trial_name({"train.lr": 1e-3}) / "checkpoints" / "step-00000007"
    )
    damaged.mkdir(parents=True)
    (damaged / "state.json").write_text("{}")
    result = search(chosen)
    assert [row["state"] for row in result["trials"]] == ["error", "finished"]
    assert "damaged checkpoint" in result["trials"][0]["reason"]
    run = client(mlflow_uri).get_run(result["trials"][0]["run_id"])
    assert run.info.status == "FAILED"
    again = search(chosen.replace({"search.max_hours": 1e-9}))
    assert [row["state"] for row in again["trials"]] == ["error", "finished"]
    files.remove_directory(damaged)
    repaired = search(chosen)
    assert [row["state"] for row in repaired["trials"]] == ["finished", "finished"]
    assert repaired["trials"][1]["seconds"] == result["trials"][1]["seconds"], (
        "a finished trial was run again"
    )


def test_a_trial_of_two_workers_is_a_whole_ray_train_run(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    chosen = tiny.settings(
        **{
            **parts,
            "train__epochs": 2,
            "scaling__num_workers": 2,
            "run__dir": str(tmp_path / "search"),
            "tracking__uri": mlflow_uri,
            "registry__name": "",
            "search__space": {"train.lr": [1e-2]},
        }
    )
    result = search(chosen)
    assert [(row["state"], row["epochs"]) for row in result["trials"]] == [("finished", 2)]
    assert result["trials"][0]["start_s"] > 0
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
