"""A tracking server that goes away in mid-run and comes back: every metric of every epoch arrives."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from liftray.track.mlflow.outbox import Outbox
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client
from tests.parts import tiny

pytestmark = pytest.mark.slow


class Server:
    """An MLflow server on one address that can be killed and started again over the same store."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address, self._folder = f"http://127.0.0.1:{self.port}", folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "files")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 180
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)  # a poll, not a guess: the loop ends when the server answers
        pytest.fail(f"the MLflow server did not start: {(self._folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


def test_a_server_killed_in_mid_run_costs_no_metric(
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
