"""A tracking server is killed during a run and started again: every metric of every epoch arrives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from liftray.track.mlflow.outbox import Outbox
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client
from tests.parts import tiny
from tests.parts.servers import Server, mlflow_server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with mlflow_server(tmp_path) as started:
        yield started


def test_a_server_killed_during_a_run_costs_no_metric(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with start_run(tiny.settings(tracking__uri=server.address), system_metrics_s=None) as run:
        box = Outbox(run.uri, run.run_id, run_dir)
        assert box.log({"train/loss": 1.0, "valid/q3": 0.1}, 1)
        server.kill()
        for epoch in (2, 3):
            assert not box.log({"train/loss": 1.0 / epoch, "valid/q3": epoch / 10}, epoch)
        assert "does not take metrics" in capsys.readouterr().err
        server.start()
        assert box.drain(60) == 2
    history = client(server.address).get_metric_history(run.run_id, "valid/q3")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert client(server.address).get_run(run.run_id).info.status == "FINISHED"
