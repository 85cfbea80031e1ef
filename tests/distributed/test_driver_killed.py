"""The driver of a whole job is killed by SIGKILL; the same command resumes it.

Tolerance: none; the second process does the operations that the first one had left.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from liftray.config import to_yaml
from liftray.errors import ConfigError
from liftray.train import checkpoint
from liftray.train.step_log import STEP_LOSSES, read_losses
from tests.parts import tiny

# Whole jobs, one after the other: this takes minutes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(1500)]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 400
# What a run shows: the time, and a line of its own.
_OURS = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    r"((data|backbone|memory|batch|ray|log|cache|train|calibrate|evaluate|warning): |Creating the MLflow store )"
)


@pytest.fixture
def command(parts: dict[str, Any], mlflow_uri: str, tmp_path: Path) -> list[str]:
    """`train` with a checkpoint after each step, all of them kept."""
    chosen = tiny.settings(
        **{
            **parts,
            "train__checkpoint_steps": 1,
            "train__keep_checkpoints": 1000,
            "tracking__uri": mlflow_uri,
            "registry__name": "",
        }
    )
    (tmp_path / "c.yaml").write_text(to_yaml(chosen))
    return [sys.executable, str(_ROOT / "jobs" / "train.py"), "--config", str(tmp_path / "c.yaml")]


def test_a_killed_job_resumes_with_the_same_command(command: list[str], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    go = [*command, f"run.dir={run_dir}"]
    log = tmp_path / "first.log"
    with log.open("wb") as output:
        job = subprocess.Popen(go, cwd=_ROOT, env=_environment(), stdout=output, stderr=output)
        try:
            _wait(lambda: bool(_checkpoints(run_dir)), job, log)
        finally:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
    assert not (run_dir / "summary.json").exists(), "it ended before it was killed"
    run_id = json.loads((run_dir / "run.json").read_text())["run_id"]
    written = {path: path.stat().st_mtime_ns for path in _checkpoints(run_dir)}
    second, shown = _run(go)
    assert second["run_id"] == run_id
    steps = second["train"]["steps"]
    assert any(re.search(rf"train: resumed at step \d+ of {steps}$", line) for line in shown)
    again = [path.parent.name for path, when in written.items() if path.stat().st_mtime_ns != when]
    assert not again, "the run took steps again whose checkpoints were there"
    unbroken, shown = _run([*command, f"run.dir={tmp_path / 'unbroken'}"])
    foreign = [line for line in shown if not _OURS.match(line)]
    assert foreign == [], "a library wrote to the terminal"
    log = tmp_path / "unbroken" / "logs" / "train.log"
    assert sum(line.endswith(f" log: {log}") for line in shown) == 1
    assert all(line in log.read_text() for line in shown)
    losses = read_losses(tmp_path / "unbroken" / STEP_LOSSES)
    assert read_losses(run_dir / STEP_LOSSES) == losses
    assert len(losses) == steps >= 20
    assert second["metrics"] == unbroken["metrics"]
    other = subprocess.run(
        [*go, "train.lr=0.5"], cwd=_ROOT, env=_environment(), capture_output=True, text=True
    )
    assert other.returncode == ConfigError.exit_code
    assert "other settings" in other.stderr.splitlines()[-1]
    assert "Traceback" not in other.stderr


def test_a_signal_ends_a_job_with_a_checkpoint_and_130(
    command: list[str], mlflow_uri: str, tmp_path: Path
) -> None:
    """Ray handles the signals itself: SIGTERM ended in an abort with a dump of the stack."""
    run_dir, log = tmp_path / "run", tmp_path / "log"
    # Epochs enough that it cannot end by itself.
    long = ["train.epochs=1000", "train.patience=1000", "train.checkpoint_steps=0", f"run.dir={run_dir}"]
    with log.open("wb") as output:
        job = subprocess.Popen([*command, *long], cwd=_ROOT, env=_environment(), stdout=output, stderr=output)
        try:
            _wait(lambda: bool(_checkpoints(run_dir)), job, log)
            job.send_signal(signal.SIGTERM)
            assert job.wait(timeout=_PATIENCE_S) == 130
        finally:
            job.kill()
    shown = log.read_text()
    stopped = re.search(r"train: stopped at step ([\d,]+) of", shown)
    assert stopped, shown[-3000:]
    newest = checkpoint.newest(run_dir / "checkpoints")
    assert newest is not None
    assert newest.progress.global_step == int(stopped[1].replace(",", ""))
    assert "error: interrupted" in shown.splitlines()[-1]
    assert "Traceback" not in shown
    assert "SIGABRT" not in shown
    run_id = json.loads((run_dir / "run.json").read_text())["run_id"]
    assert MlflowClient(mlflow_uri).get_run(run_id).info.status == "KILLED"


def test_a_killed_search_resumes_and_repeats_no_trial(
    parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    chosen = tiny.settings(
        **{
            **parts,
            "tracking__uri": mlflow_uri,
            "tracking__experiment": "killed search",
            "registry__name": "",
            "train__keep_checkpoints": 1000,
            "search__space": {"train.lr": [1e-3, 2e-3, 3e-3]},
        }
    )
    (tmp_path / "c.yaml").write_text(to_yaml(chosen))
    out, log = tmp_path / "search", tmp_path / "log"
    job_file = str(_ROOT / "jobs" / "tune.py")
    go = [sys.executable, job_file, "--config", str(tmp_path / "c.yaml"), f"run.dir={out}"]
    with log.open("wb") as output:
        job = subprocess.Popen(go, cwd=_ROOT, env=_environment(), stdout=output, stderr=output)
        try:
            _wait(lambda: _states(out)[:1] == ["finished"] and len(_stores(out)) > 1, job, log)
        finally:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
    assert "running" in _states(out), "it ended before it was killed"
    parent = json.loads((out / "run.json").read_text())["run_id"]
    written = {path: path.stat().st_mtime_ns for store in _stores(out) for path in _checkpoints(store)}
    found, _ = _run(go)
    assert [row["state"] for row in found["trials"]] == ["finished"] * 3
    assert [row["config"]["train.lr"] for row in found["trials"]] == [1e-3, 2e-3, 3e-3]
    assert [row["epochs"] for row in found["trials"]] == [4] * 3
    again = [path.parent.name for path, when in written.items() if path.stat().st_mtime_ns != when]
    assert not again, "an epoch was trained again whose checkpoint was there"
    assert found["run_id"] == parent
    store = MlflowClient(mlflow_uri)
    runs = store.search_runs([store.get_run(parent).info.experiment_id])
    assert len([run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]) == 3


def _states(out: Path) -> list[str]:
    found = [json.loads(path.read_text()) for path in out.glob("trials/*/trial.json")]
    return [trial["state"] for trial in sorted(found, key=lambda trial: trial["number"])]


def _stores(out: Path) -> list[Path]:
    """Directories of the trials that have a checkpoint."""
    return [path for path in out.glob("trials/*") if _checkpoints(path)]


def _run(command: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The summary of the run, and the lines that it showed."""
    ended = subprocess.run(
        command, cwd=_ROOT, env=_environment(), capture_output=True, text=True, timeout=_PATIENCE_S
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    run_dir = command[-1].removeprefix("run.dir=")
    found: dict[str, Any] = json.loads((Path(run_dir) / "summary.json").read_text())
    return found, ended.stderr.splitlines()


def _environment() -> dict[str, str]:
    """Without this process's own cluster: the job must start another."""
    return {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "PYTHONPATH": str(_ROOT)}


def _wait(reached: Callable[[], bool], job: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if reached():
            return
        assert job.poll() is None, log.read_text()[-3000:]
        time.sleep(0.05)  # a poll: the loop ends when the files are there
    pytest.fail(f"it never came so far: {log.read_text()[-3000:]}")


def _checkpoints(run_dir: Path) -> list[Path]:
    return list((run_dir / "checkpoints").glob("step-*/state.json"))
