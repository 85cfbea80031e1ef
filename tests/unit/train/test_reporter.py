"""Each epoch's report reaches MLflow and the person who watches; what is reported in mid-epoch does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from liftray.errors import DataError
from liftray.track.mlflow import runs
from liftray.train.reporter import PROGRESS_FILE, Reporter, follow, reported_epochs
from liftray.train.step_log import STEP_LOG, StepLog
from tests.parts import tiny


def _record(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "global_step": 10 * (epoch + 1),
        "finished": False,
        "train/loss": 1.5 - epoch,
        "train/seconds": 2.0,
        "train/residues_per_s": 1234.5,
        "valid/q3": 0.5 + epoch / 10,
        "valid/q9": 0.25,
        "valid/loss": 1.0,
    }


def _steps(epoch: int) -> int:
    return 10


def test_epochs_are_logged_at_their_number_and_rank_0_speaks(mlflow_uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    with runs.start_run(tiny.settings(tracking__uri=mlflow_uri), system_metrics_s=None) as run:
        reporter = Reporter(mlflow_uri, run.run_id, tmp_path)
        reporter.after_report(None, [{"epoch": 0, "step": 3}], None)
        for epoch in (0, 1):
            reporter.after_report(None, [_record(epoch), {**_record(epoch), "train/loss": 99.0}], None)
    client = MlflowClient(mlflow_uri)
    logged = [(point.step, point.value) for point in client.get_metric_history(run.run_id, "train/loss")]
    assert sorted(logged) == [(1, 1.5), (2, 0.5)]
    names = {"train/loss", "train/seconds", "train/residues_per_s", "valid/q3", "valid/q9", "valid/loss"}
    assert set(client.get_run(run.run_id).data.metrics) == names
    lines = (tmp_path / PROGRESS_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [_record(0), _record(1)]


def test_without_a_run_nothing_is_logged_but_the_file(tmp_path: Path) -> None:
    Reporter("sqlite:////absent/mlflow.db", None, tmp_path).after_report(None, [_record(0)], None)
    assert json.loads((tmp_path / PROGRESS_FILE).read_text()) == _record(0)


def test_the_user_sees_epochs_lost_workers_and_the_step_to_resume_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter("", None, tmp_path)
    reporter.after_report(None, [_record(7)], None)  # what an earlier run left
    StepLog(tmp_path / STEP_LOG).write({"resumed": 70, "of": 80})
    with follow(tmp_path, 5, "train", _steps, max_failures=3):
        reporter.after_report(None, [_record(0)], None)
        reporter.after_exception(None, {0: ConnectionError("peer reset"), 1: RayActorError()})
        reporter.after_exception(None, {0: DataError("damaged", where="x")})
        StepLog(tmp_path / STEP_LOG).write({"resumed": 10, "of": 50})
    epoch, lost, failed, resumed = capsys.readouterr().err.splitlines()
    assert epoch == (
        "train: epoch 1/5, loss 1.5000, validation Q9 25.00, Q3 50.00, 1,234 residues/s, at most 8 s left"
    )
    assert lost == "train: worker 1 lost (its process was killed or crashed), restart 1 of 3"
    assert failed == "train: worker 0 failed (x: damaged), restart 2 of 3"
    assert resumed == "train: resumed at step 10 of 50"
    assert not (tmp_path / STEP_LOG).exists()


def test_reported_epochs_are_known_after_failures_and_kills(tmp_path: Path) -> None:
    assert reported_epochs(tmp_path) == set()
    reporter = Reporter("", None, tmp_path)
    reporter.after_report(None, [_record(0)], None)
    reporter.after_exception(None, {1: RayActorError()})
    with (tmp_path / PROGRESS_FILE).open("a") as file:
        file.write('{"epoch": 1, "train/lo')
    assert reported_epochs(tmp_path) == {0}
    reporter.after_report(None, [_record(1)], None)  # appended to the unfinished line
    reporter.after_report(None, [_record(2)], None)
    assert reported_epochs(tmp_path) == {0, 2}


def test_a_damaged_record_hides_none_of_the_later_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with follow(tmp_path, 5, "train", _steps, max_failures=3):
        (tmp_path / STEP_LOG).write_text('{"epoch": 0, "st{"epoch": 0}\n')
        StepLog(tmp_path / STEP_LOG).write({"resumed": 10, "of": 50})
    assert capsys.readouterr().err == "train: resumed at step 10 of 50\n"


def test_lines_are_shown_even_when_the_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with follow(tmp_path, 5, "train", _steps, max_failures=3):
            Reporter("", None, tmp_path).after_report(None, [_record(0)], None)
            raise RuntimeError("worker lost")

    with pytest.raises(RuntimeError, match="worker lost"):
        fail()
    assert "epoch 1/5" in capsys.readouterr().err
