"""A whole study: its driver is killed in the middle, then rerun; nothing that ended is repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from liftray.config import load, to_yaml
from liftray.data.dataset import ProteinDataset
from liftray.errors import ConfigError
from liftray.search.ledger import Ledger
from liftray.study.preview import preview
from liftray.study.study_job import study
from tests.parts import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("ray_cluster"),
]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 400


@pytest.fixture
def config(parts: dict[str, Any], mlflow_uri: str, tmp_path: Path) -> Path:
    """Two arms, of which one tries two rates, and two seeds."""
    chosen = tiny.settings(
        **{
            **parts,
            "data__test": {"held": tiny.dataset(tmp_path / "h", tiny.chains([50, 70, 40], seed=9, name="h"))},
            "cache__enabled": True,
            "cache__dir": str(tmp_path / "cache"),
            "train__epochs": 2,
            "evaluate__baselines": ["majority"],
            "run__dir": str(tmp_path / "small"),
            "tracking__uri": mlflow_uri,
            "adapter__skip_layers": 0,
            "adapter__reduction_factor": 64,
            "study__arms": {
                "frozen": {"method": "features"},
                "adapted": {"adapter.reduction_factor": 8, "adapter.skip_layers": 1},
            },
            "study__seeds": [4, 5],
            "study__choose": {"train.lr": [1e-3, 1e-5]},
            "study__train_chains": 20,
            "study__claims": {
                "better": {
                    "says": "It is better.",
                    "kind": "better",
                    "arms": ["adapted"],
                    "than": ["frozen"],
                },
                "step": {
                    "says": "It suffices.",
                    "kind": "sweep",
                    "arms": ["adapted", "frozen"],
                    "margin": 0.01,
                },
            },
        }
    )
    (tmp_path / "c.yaml").write_text(to_yaml(chosen))
    return tmp_path / "c.yaml"


def test_a_killed_study_resumes_and_repeats_nothing(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    _kill_in_the_middle(config, out)
    before = _written(out)
    ended = {name for name, trial in _trials(out).items() if trial["state"] == "finished"}
    assert 1 <= len(ended) < 6
    assert not (out / "report.md").exists()

    settings = load(config)
    assert f", {len(ended)} of them finished; " in preview(settings)[1]
    summary = study(settings, "liftray study --config c.yaml", tmp_path / "reports")
    trials = _trials(out)
    assert {trial["state"] for trial in trials.values()} == {"finished"}
    assert len(trials) == 6
    after = _written(out)
    again = [path for path in before if path.parts[-4] in ended and after.get(path) != before[path]]
    assert not again, "a run that had ended was run again"
    # Every number in the report is of the same six runs.
    assert sorted(row["number"] for row in summary["runs"]) == [1, 2, 3, 4, 5, 6]
    _check_choices(trials, summary)
    _check_report(tmp_path, out, summary)

    kept = _written(out)
    second = study(settings, "again")
    assert _written(out) == kept
    assert second["claims"] == summary["claims"]
    assert second["arms"] == summary["arms"]
    with pytest.raises(ConfigError, match="other settings"):
        study(settings.replace({"train.epochs": 3}), "other")


def _check_choices(trials: dict[str, Any], summary: dict[str, Any]) -> None:
    """The second seed's only run has the rate of the first seed's better run."""
    for arm, method in (("frozen", "features"), ("adapted", "adapter")):
        ours = [one for one in trials.values() if one["config"].get("method", "adapter") == method]
        first = [one for one in ours if one["config"]["train.seed"] == 4]
        [second] = [one for one in ours if one["config"]["train.seed"] == 5]
        assert len(first) == 2
        best = max(one["metrics"]["valid/q3"] for one in first)
        rates = [one["config"]["train.lr"] for one in first if one["metrics"]["valid/q3"] == best]
        assert second["config"]["train.lr"] in rates
        assert summary["arms"][arm]["chosen"] == {"train.lr": second["config"]["train.lr"]}
        assert {run["seed"] for run in summary["arms"][arm]["runs"]} == {4, 5}


def _check_report(tmp_path: Path, out: Path, summary: dict[str, Any]) -> None:
    result = json.loads((out / "report.json").read_text())
    assert result["command"] == "liftray study --config c.yaml"
    train = result["data"]["train"]["t"]
    assert train["chains"] == 20
    assert ProteinDataset.open(out / "data" / "train-first-20" / "t").digest == train["digest"]
    assert set(result["sets"]) == {"validation", "held", "all test sets"}
    assert set(result["baselines"]) == {"majority class"}
    adapted = result["arms"]["adapted"]
    assert (
        adapted["parameters"]["trained"] == adapted["parameters"]["adapter"] + adapted["parameters"]["head"]
    )
    assert result["arms"]["frozen"]["parameters"]["in_backbone"] == 0
    assert adapted["peak_memory_gb"] > 0.05
    # The score of the test set is that of the chains that the two runs kept.
    ledger = Ledger(out)
    scores = []
    for run in adapted["runs"]:
        [trial] = [one for one in ledger.trials if one.name == run["name"]]
        table = pq.read_table(ledger.directory(trial) / "held_out" / "held.parquet").to_pydict()
        assert table["id"] == ["h0", "h1", "h2"]
        correct = sum(share * count for share, count in zip(table["q3"], table["labelled"], strict=True))
        scores.append(correct / sum(table["labelled"]))
    assert adapted["scores"]["held"]["q3_by_seed"] == pytest.approx(scores)
    assert adapted["scores"]["held"]["q3"] == pytest.approx(sum(scores) / 2)
    # Only the final runs of the arms predicted the test set, and they predicted all of it.
    assert len(list(out.glob("trials/*/held_out/held.parquet"))) == 4
    assert summary["claims"]["better"]["verdict"] == result["claims"]["better"]["verdict"]
    day = result["date"][:10]
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        *(f"{day}-small.{ending}" for ending in ("md", "html", "json")),
        *(f"{day}-small-{plot}.png" for plot in ("forest", "size", "step")),
    }


def _kill_in_the_middle(config: Path, out: Path) -> None:
    """Start the job and kill its driver once the first run has ended."""
    command = [sys.executable, str(_ROOT / "jobs" / "study.py"), "--config", str(config)]
    environment = {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "PYTHONPATH": str(_ROOT)}
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        job = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=output, stderr=output)
        try:
            until = time.monotonic() + _PATIENCE_S
            while not any(trial["state"] == "finished" for trial in _trials(out).values()):
                assert job.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.02)  # a poll: the loop ends when a run has ended
        finally:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()


def _trials(out: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("trials/*/trial.json")}


def _written(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("trials/*/checkpoints/step-*/state.json")}
