"""Real MLflow stores for the tests: an SQLite one that is migrated once, and servers over SQLite and PostgreSQL."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let the processes that tests start be interrupted: a shell starts what it puts in the background, as build
    servers do, with SIGINT ignored, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def migrated_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store of the present schema, to be copied and never opened by MLflow itself."""
    from liftray.track.mlflow.store import check

    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    check(f"sqlite:///{path}")
    return path


@pytest.fixture
def mlflow_uri(migrated_db: Path, tmp_path: Path) -> str:
    """An empty SQLite store of this test's own."""
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(migrated_db, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server with an empty store; it is ended with all its processes."""
    folder = tmp_path_factory.mktemp("server")
    with _mlflow_server(folder, f"sqlite:///{folder}/server.db") as address:
        yield address


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server over a real PostgreSQL, which listens in a folder of its own alone."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian's package is called postgresql)")
    # The path of a socket is limited to about a hundred letters.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    # PostgreSQL does not run as root; Debian's package brings a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    options: dict[str, Any] = {"cwd": folder, "user": user, "stdin": subprocess.DEVNULL}
    init = [
        programs[-1] / "initdb",
        "--pgdata",
        folder / "data",
        "--username=mlflow",
        "--auth=trust",
        "--no-sync",
    ]
    subprocess.run(init, check=True, capture_output=True, **options)
    serve = [programs[-1] / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
    with (folder / "log").open("wb") as log:
        database = subprocess.Popen(serve, stdout=log, stderr=log, **options)
        try:
            ready = [programs[-1] / "pg_isready", "--host", folder, "--timeout=60"]
            until = time.monotonic() + 60
            while subprocess.run(ready, capture_output=True).returncode and time.monotonic() < until:
                time.sleep(0.1)  # a poll, not a guess: the loop ends when the database answers
            store = f"postgresql://mlflow@/postgres?host={folder}"
            with _mlflow_server(tmp_path_factory.mktemp("postgresql"), store) as address:
                yield address
        finally:
            database.send_signal(signal.SIGINT)  # its fast shutdown: connections are closed
            database.wait(timeout=60)
    shutil.rmtree(folder)


@contextmanager
def _mlflow_server(folder: Path, store: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder / "files")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):  # it ended itself, as `_wait` tells
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)  # a poll, not a guess: the loop ends when the server answers
    pytest.fail(f"the MLflow server did not start: {log.read_text()[-2000:]}")
