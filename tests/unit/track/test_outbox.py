import json
import math
import shutil
from pathlib import Path

import pytest

from liftray.config import Settings
from liftray.errors import TrackingError
from liftray.track.mlflow.outbox import FILE, Outbox
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client


@pytest.fixture
def run_id(mlflow_uri: str) -> str:
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        return run.run_id


class Outage:
    """Takes the store away, and brings it back."""

    def __init__(self, uri: str) -> None:
        self._file = Path(uri.removeprefix("sqlite:///"))
        self._aside = self._file.with_suffix(".aside")

    def __enter__(self) -> None:
        shutil.copyfile(self._file, self._aside)
        self._file.write_bytes(b"SQLite format 3\0" + b"\1" * 4000)

    def __exit__(self, *_: object) -> None:
        shutil.copyfile(self._aside, self._file)


def _history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    found = client(uri).get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in found)


def test_what_is_sent_leaves_nothing_behind(mlflow_uri: str, run_id: str, tmp_path: Path) -> None:
    box = Outbox(mlflow_uri, run_id, tmp_path)
    assert box.log({"train/loss": 1.0, "none": None, "bad [name]": 2.0, "nan": math.nan}, 1)
    assert not (tmp_path / FILE).exists()
    metrics = client(mlflow_uri).get_run(run_id).data.metrics
    assert metrics["train/loss"] == 1.0
    assert metrics["bad _name_"] == 2.0
    assert math.isnan(metrics["nan"])
    assert box.drain(0) == 0


def test_an_outage_loses_nothing_and_is_reported_once(
    mlflow_uri: str, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 5.0}, 1)
    with Outage(mlflow_uri):
        for step in (2, 3, 4):  # an outbox of its own each time, as after a restart
            assert not Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 5.0 - step}, step)
        times = [json.loads(line)["time"] for line in (tmp_path / FILE).read_text().splitlines()]
    message = capsys.readouterr().err
    assert message.count("does not take metrics") == 1
    assert str(tmp_path / FILE) in message
    assert Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 0.0}, 5)
    assert "metrics of 3 earlier steps are sent" in capsys.readouterr().err
    assert _history(mlflow_uri, run_id, "loss") == [(1, 5.0), (2, 3.0), (3, 2.0), (4, 1.0), (5, 0.0)]
    stored = {
        metric.step: metric.timestamp for metric in client(mlflow_uri).get_metric_history(run_id, "loss")
    }
    assert [stored[step] for step in (2, 3, 4)] == times, "each has the time at which it was measured"
    assert not (tmp_path / FILE).exists()


def test_what_was_sent_and_not_struck_off_is_not_there_twice(
    mlflow_uri: str, run_id: str, tmp_path: Path
) -> None:
    with Outage(mlflow_uri):
        Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 1.0}, 1)
    kept = (tmp_path / FILE).read_bytes()
    for _ in range(2):
        (tmp_path / FILE).write_bytes(kept)  # as a process leaves it that died after sending
        assert Outbox(mlflow_uri, run_id, tmp_path).drain(0) == 1
    assert _history(mlflow_uri, run_id, "loss") == [(1, 1.0)]


def test_a_line_cut_off_by_a_kill_spoils_no_other(mlflow_uri: str, run_id: str, tmp_path: Path) -> None:
    with Outage(mlflow_uri):
        Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 1.0}, 1)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"run": "x", "ti')
    assert Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 2.0}, 2)
    assert _history(mlflow_uri, run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_draining_a_store_that_stays_away_is_reported_with_the_file(
    mlflow_uri: str, run_id: str, tmp_path: Path
) -> None:
    box = Outbox(mlflow_uri, run_id, tmp_path)
    with Outage(mlflow_uri):
        box.log({"loss": 1.0}, 1)
        with pytest.raises(TrackingError, match=FILE):
            box.drain(0)
    assert box.drain(0) == 1


def test_a_changed_line_is_not_sent_and_said(
    mlflow_uri: str, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Outage(mlflow_uri):
        for step in (1, 2, 3):
            Outbox(mlflow_uri, run_id, tmp_path).log({"loss": 5.0}, step)
    file = tmp_path / FILE
    one, two, three = file.read_text().splitlines()
    older = json.loads(three)
    del older["sha256"]  # as version 0.1 wrote it
    file.write_text("\n".join([one, two.replace("5.0", "4.0"), json.dumps(older)]) + "\n")
    assert Outbox(mlflow_uri, run_id, tmp_path).drain(0) == 2
    assert _history(mlflow_uri, run_id, "loss") == [(1, 5.0), (3, 5.0)]
    assert "1 damaged lines" in capsys.readouterr().err
