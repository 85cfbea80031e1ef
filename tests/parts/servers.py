"""Real HTTP servers of the tests: MLflow's tracking server, and MLflow's server of a model."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

START_S = 180  # seconds that a server may take to start, on a busy machine of two cores
STOP_S = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """A server in a process group of its own. As a context manager it is started, and at the end stopped.

    Args:
        command: Program and arguments, without host and port.
        folder: Its working directory, where `server.log` is kept.
        health: Path that answers with status 200 once the server is ready.
        environment: Variables in addition to those of this process.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, health: str, environment: Mapping[str, str] | None = None
    ) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._command = [*command, "--host", "127.0.0.1", "--port", str(port)]
        self._folder, self._log, self._health = folder, folder / "server.log", self.address + health
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._health, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)  # a poll: the loop ends when the server answers
        self.kill()
        pytest.fail(f"the server did not start: {self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the process group in order; kill it if that takes too long."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


def mlflow_server(
    folder: Path,
    store: str | None = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Server:
    """An MLflow tracking server that is not started yet.

    Args:
        folder: Keeps the artifacts, and the SQLite store where no other store is given.
        store: Address of the store.
        options: Further arguments of `mlflow server`.
        environment: Variables in addition to those of this process.
    """
    command = [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"]
    command += ["--backend-store-uri", store or f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "files")]
    return Server(command, folder, "/health", environment)
