import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from liftray.errors import TrackingError
from liftray.track.mlflow.store import artifact_root, check, client, process_wide

pytestmark = pytest.mark.timeout(60)


def _refused(uri: str) -> str:
    with pytest.raises(TrackingError) as caught:
        check(uri)
    text = str(caught.value)
    assert "\n" not in text
    assert "; " in text, "an error names a remedy"
    return text


def test_a_relative_path_becomes_absolute(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(mlflow_uri.removeprefix("sqlite:///"))
    monkeypatch.chdir(path.parent)
    assert check("sqlite:///mlflow.db") == mlflow_uri
    assert check(mlflow_uri) == mlflow_uri


def test_pickle_is_forbidden_for_this_process_and_its_children(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    check(mlflow_uri)
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_new_store_is_made_whole_and_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uri = check(f"sqlite:///{tmp_path}/new/deep/mlflow.db")
    assert client(uri).search_experiments()
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["mlflow.db"]
    shown = capfd.readouterr().err
    assert "Creating the MLflow store" in shown
    assert len(shown.splitlines()) == 1, "MLflow's own migration lines are not shown"


def test_an_empty_file_is_taken_as_no_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert client(check(f"sqlite:///{tmp_path}/mlflow.db")).search_experiments()


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mlruns",
        "file:///tmp/mlruns",
        "databricks",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "http://",
    ],
)
def test_other_forms_are_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(uri)
    assert not list(tmp_path.iterdir())


def test_a_password_is_not_shown() -> None:
    text = _refused("postgresql://me:secret@host/db")
    assert "secret" not in text


def test_a_password_in_an_address_is_refused_with_the_place_for_it() -> None:
    text = _refused("http://me:secret@127.0.0.1:9")
    assert "MLFLOW_TRACKING_PASSWORD" in text
    assert "secret" not in text


class _Asks(BaseHTTPRequestHandler):
    """Records the credentials that it receives, and refuses every request."""

    shown: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"who are you?")

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.timeout(30)
def test_a_token_is_shown_to_the_server_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-4711")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Asks)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        text = _refused(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert _Asks.shown == ["Bearer token-4711"]
    assert "MLFLOW_TRACKING_TOKEN" in text
    assert "token-4711" not in text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one", b"SQLite format 3\0" + b"\1" * 4000]
)
def test_a_damaged_file_is_refused_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    _refused(f"sqlite:///{path}")
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["mlflow.db"]


def test_another_programs_database_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (x)")
        database.commit()
    before = path.read_bytes()
    assert "not an MLflow store" in _refused(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("revision", "message"), [("ffffffffffff", "newer"), ("451aebb31d03", "older")])
def test_a_store_of_another_schema_is_refused_and_left(mlflow_uri: str, revision: str, message: str) -> None:
    path = Path(mlflow_uri.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
    before = path.read_bytes()
    text = _refused(mlflow_uri)
    assert message in text
    assert ("mlflow db upgrade" in text) == (message == "older")
    assert path.read_bytes() == before


def test_a_locked_store_is_refused(mlflow_uri: str) -> None:
    with closing(sqlite3.connect(mlflow_uri.removeprefix("sqlite:///"), isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert "locked" in _refused(mlflow_uri)
    assert check(mlflow_uri) == mlflow_uri


def test_a_path_below_a_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _refused(f"sqlite:///{tmp_path}/file/mlflow.db")
    _refused(f"sqlite:///{tmp_path}")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def foreign_port() -> Iterator[int]:
    """A web server that is no MLflow server."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


# Without the short patience of `check`, MLflow's own retries alone take over four minutes.
@pytest.mark.timeout(30)
def test_a_silent_port_is_refused_soon(silent_port: int) -> None:
    _refused(f"http://127.0.0.1:{silent_port}")


@pytest.mark.timeout(30)
def test_an_unreachable_server_is_refused_soon(silent_port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    text = _refused(f"http://127.0.0.1:{free}")
    assert "start the MLflow server" in text


@pytest.mark.timeout(30)
def test_another_web_server_is_refused(foreign_port: int) -> None:
    _refused(f"http://127.0.0.1:{foreign_port}")


def test_the_probe_leaves_longer_patience_behind(mlflow_uri: str) -> None:
    check(mlflow_uri)
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) > 0


def test_the_process_wide_store_is_put_back(mlflow_uri: str) -> None:
    import mlflow

    assert not mlflow.is_tracking_uri_set()
    with process_wide(mlflow_uri):
        assert mlflow.get_tracking_uri() == mlflow_uri
    assert not mlflow.is_tracking_uri_set()


def test_importing_the_layer_imports_no_mlflow() -> None:
    code = (
        "import sys, liftray.track.mlflow.runs, liftray.track.promotion.registry, liftray.track.mlflow.card;"
        "sys.exit('mlflow' in sys.modules or 'torch' in sys.modules or 'ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("set_by_program", [None, "sqlite:///program.db"])
@pytest.mark.parametrize("variable", [None, "sqlite:///environment.db"])
def test_process_wide_leaves_both_addresses_of_mlflow_as_they_were(
    set_by_program: str | None, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    # Set first: what is restored at the end is the value before the first change.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with process_wide("sqlite:///outer.db"):  # restores what this test changes
        mlflow.set_tracking_uri(set_by_program)  # type: ignore[arg-type]
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        if variable is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
        with process_wide("sqlite:///inner.db"):
            assert mlflow.get_tracking_uri() == "sqlite:///inner.db"
        assert os.environ.get("MLFLOW_TRACKING_URI") == variable
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert mlflow.is_tracking_uri_set() == (set_by_program is not None)
        if set_by_program is not None:
            assert mlflow.get_tracking_uri() == set_by_program


@pytest.mark.parametrize("name", ["a b", "a%20b", "a%b", "50%41 #", "a?b", "a;b", "Ä"])
def test_a_directory_of_any_name_has_its_own_store_and_files(
    name: str, migrated_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copyfile(migrated_db, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    uri = check("sqlite:///mlflow.db")
    assert check(uri) == uri
    store = client(uri)
    experiment = store.create_experiment("e", artifact_location=artifact_root(uri, "e"))
    run = store.create_run(experiment)
    store.log_text(run.info.run_id, "text", "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == [name], "no directory of a similar name was made"
    assert sorted(path.name for path in folder.iterdir()) == ["mlartifacts", "mlflow.db"]
    (written,) = folder.glob("mlartifacts/e/*/artifacts/a.txt")
    assert written.read_text() == "text"
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_an_address_that_may_mean_two_files_is_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    with pytest.raises(TrackingError, match=r"may mean '.*/a%20b/m.db' or '.*/a b/m.db'; .*a%2520b/m.db"):
        check(f"sqlite:///{tmp_path}/a%20b/m.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a%20b"]
