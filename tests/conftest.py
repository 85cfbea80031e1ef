"""Real MLflow stores for the tests, an SQLite one that is migrated once and servers, and the real data sets."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.parts import servers
from tests.parts.real_data import find as find_real_data
from tests.parts.recipes import make_workspace

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Restore SIGINT for the processes that tests start: shells and build servers start background commands with SIGINT
    ignored, and children inherit that.
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
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as `make quickstart` leaves it, made once for all processes that run tests.

    `golden.json` holds what the quickstart gave, since recipes train on in it.
    """
    from tests.golden import quickstart

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "recipes"
    with FileLock(shared / "recipes.lock"):
        if not (root / "golden.json").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            make_workspace(root)
            (root / "golden.json").write_text(
                json.dumps(quickstart.result(root / "runs" / "quickstart" / "train"))
            )
    return root


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server with an empty store; it is ended with all its processes."""
    with servers.mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server.address


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
                time.sleep(0.1)  # a poll: the loop ends when the database answers
            store = f"postgresql://mlflow@/postgres?host={folder}"
            with servers.mlflow_server(tmp_path_factory.mktemp("postgresql"), store) as server:
                yield server.address
        finally:
            database.send_signal(signal.SIGINT)  # its fast shutdown: connections are closed
            database.wait(timeout=60)
    shutil.rmtree(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that read the real data sets, so that `-m real_data` selects them."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Find a file of the real data sets, or skip; the only way to them, so that they can be selected."""
    return find_real_data
