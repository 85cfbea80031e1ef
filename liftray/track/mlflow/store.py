"""Access to MLflow stores: which are supported, whether one answers, and how its failures are reported.

Invariant: after `check` the address means the same store in every process and directory, and the store
answers; a refused store has not been touched. Flow: jobs, runs, registry -> [this] -> MLflow.

Decisions:

- Supported are `sqlite:///FILE` and `http(s)://` servers. MLflow's file store is in maintenance mode and refuses
  to open; other databases belong behind a server, which then holds their password.
- A new SQLite store is built under a temporary name and appears whole.
- The path in an SQLite address is percent-decoded, as SQLAlchemy does. Where the undecoded name exists, the address is
  refused, since it may mean that one. For a path that decoding would change, `check` returns `sqlite+pysqlite:///` with
  the path encoded: under `sqlite:///`, MLflow also creates the directory of the undecoded name.
- Retries during work are bounded by seconds, not by MLflow's minutes.
"""

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from liftray import paths
from liftray.errors import TrackingError
from liftray.progress import show_line
from liftray.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCK_WAIT_S = 5.0
_ENCODED = "sqlite+pysqlite:///"
_FORCED = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# Tell of migration steps, sampling threads and waits that are over at once: of no use to who trains a model.
_CHATTY = (
    "alembic",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry",
    "mlflow.system_metrics",
    "mlflow.pyfunc",
)
# A server with accounts takes over 5 s for its first answer on a busy machine with two cores.
_PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
_ENVIRONMENT_LOCK = threading.Lock()
_CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_FORMS = "give sqlite:///FILE.db or the http(s):// address of an MLflow server"


def check(uri: str, *, create: bool = True, write: bool = True) -> str:
    """Check that a store can be used.

    Args:
        uri: `sqlite:///FILE` (relative to the working directory, or absolute) or `http(s)://HOST:PORT`.
        create: Create an SQLite store where there is none; else a missing store is an error and no file is made.
        write: Check that an SQLite store can be written now; a read needs no lock.

    Returns:
        The address to use from any process: SQLite paths absolute, no trailing slash.

    Raises:
        TrackingError: The form is not supported, or the store is missing, unreachable, locked, damaged or of another
            schema.
    """
    harden()
    if uri.startswith(("sqlite:", _ENCODED)):
        path = _sqlite_path(uri)
        _check_sqlite(path, create=create, write=write)
        uri = _sqlite_uri(path)
    elif urlsplit(uri).scheme in ("http", "https"):
        if not urlsplit(uri).hostname:
            raise TrackingError("no host in the tracking address", where=redacted(uri), remedy=_FORMS)
        if "@" in urlsplit(uri).netloc:
            # Addresses are logged, stored with runs and shown to users.
            raise TrackingError(
                "a user name or password in the tracking address", where=redacted(uri), remedy=_CREDENTIALS
            )
        uri = uri.rstrip("/")
    else:
        raise TrackingError(f"tracking.uri {redacted(uri)!r} is no store that LiftRay uses", remedy=_FORMS)
    with short_timeouts(), mlflow_errors(uri):
        client(uri).search_experiments(max_results=1)
    return uri


def short_timeouts() -> contextlib.AbstractContextManager[None]:
    """Let MLflow give up within seconds inside the block: for a look, or where someone waits for better work."""
    return _environment(_PROBE)


def client(uri: str) -> "MlflowClient":
    """A client of this store alone; it neither reads nor changes MLflow's process-wide address."""
    harden()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def harden() -> None:
    """Set MLflow's safety and patience for this process and its children."""
    os.environ.update(_FORCED)
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def artifact_root(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its files: next to an SQLite store; None lets a server choose."""
    if not uri.startswith("sqlite"):
        return None
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", experiment).strip(".") or "experiment"
    root = _sqlite_path(uri).parent / "mlartifacts" / folder
    return str(root) if _is_plain(root) else root.as_uri()


@contextlib.contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn MLflow's failures into a TrackingError of one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        text = re.sub(r"\s+", " ", str(error)).strip()
        lost = "refused" in text or "retries" in text or "timed out" in text
        if lost:
            reason = next((sign for sign in ("refused", "timed out") if sign in text), "no answer")
            text = f"no server answers ({reason})"
        remedy = "start the MLflow server, or correct tracking.uri" if lost or "valid JSON" in text else None
        if re.search(r"code 40[13]|not authenticated|Permission denied", text):
            text, remedy = "the server does not let this user do it", _CREDENTIALS
        raise TrackingError(f"MLflow: {redacted(text)[:400]}", where=redacted(uri), remedy=remedy) from error
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        raise TrackingError(
            f"MLflow's store failed ({str(error).partition(chr(10))[0]})",
            where=redacted(uri),
            remedy="check its disk, or set tracking.uri to another store",
        ) from error
    except (KeyError, ValueError) as error:
        if isinstance(error, TrackingError) or not uri.startswith("http"):
            raise
        raise TrackingError(
            "what answers is no MLflow server", where=redacted(uri), remedy="correct tracking.uri"
        ) from error


@contextlib.contextmanager
def process_wide(uri: str) -> Iterator[None]:
    """Make this the process-wide store for a few calls that MLflow offers in no other way.

    MLflow keeps two addresses: one that the program set, and MLFLOW_TRACKING_URI. Setting the first overwrites the
    second, so each is restored by itself.
    """
    import mlflow

    variable = os.environ.pop("MLFLOW_TRACKING_URI", None)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None takes the address away again
        if variable is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = variable


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    # The environment is the whole process's: a second thread would take the short values for the former ones.
    with _ENVIRONMENT_LOCK:
        before = {key: os.environ.get(key) for key in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _sqlite_path(uri: str) -> Path:
    name = uri.removeprefix("sqlite:///").removeprefix(_ENCODED)
    if name == uri or not name or name.startswith(":memory:") or "?" in name:
        raise TrackingError(f"tracking.uri {uri!r} names no file", remedy="write sqlite:///FILE.db")
    path, literal = (
        Path(os.path.abspath(paths.local(unquote(name)))),
        Path(os.path.abspath(paths.local(name))),
    )
    other = path != literal and uri.startswith("sqlite:")
    if other and (literal.exists() or (literal.parent != path.parent and literal.parent.exists())):
        raise TrackingError(
            f"tracking.uri {uri!r} may mean {str(literal)!r} or {str(path)!r}",
            remedy=f"for the first, write {_sqlite_uri(literal)}",
        )
    return path


def _sqlite_uri(path: Path) -> str:
    return f"sqlite:///{path}" if _is_plain(path) else f"{_ENCODED}{quote(str(path))}"


def _is_plain(path: Path) -> bool:
    """Whether a path is the same when it is read as part of an address."""
    return unquote(str(path)) == str(path) and "?" not in str(path)


def _check_sqlite(path: Path, *, create: bool, write: bool) -> None:
    if not create and not path.exists():
        raise TrackingError(
            "no MLflow store",
            where=str(path),
            remedy="train a model first, or name the store in tracking.uri",
        )
    folder = next(parent for parent in path.parents if parent.exists())
    if write and (not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK)):
        raise TrackingError(
            "cannot write the MLflow store", where=str(folder), remedy="choose another tracking.uri"
        )
    if path.is_dir():
        raise TrackingError(
            "a directory is no SQLite file", where=str(path), remedy=f"write sqlite:///{path}/mlflow.db"
        )
    if path.exists() and (path.stat().st_size or not create):
        _check_schema(path, _revision(path, write=write))
    else:
        _create(path)


def _revision(path: Path, *, write: bool) -> str | None:
    """Schema version of a store; None where it is another program's database."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise TrackingError(
                "not an SQLite database", where=str(path), remedy="name another file in tracking.uri"
            )
    address = f"file:{quote(str(path))}?mode={'rw' if write else 'ro'}"
    try:
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=_LOCK_WAIT_S, isolation_level=None)
        ) as database:
            # The write lock for a moment: a writer that hangs or a read-only disk shows here, not in an hour.
            database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            tables = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            row = None
            if {"alembic_version", "experiments"} <= tables:
                row = database.execute("SELECT version_num FROM alembic_version").fetchone()
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        locked = "locked" in str(error) or "busy" in str(error)
        remedy = (
            "end the process that holds it"
            if locked
            else "restore a copy, or name another file in tracking.uri"
        )
        raise TrackingError(
            f"cannot use the MLflow store ({error})", where=str(path), remedy=remedy
        ) from error
    return row[0] if row else None


def _check_schema(path: Path, revision: str | None) -> None:
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    if revision is None:
        raise TrackingError(
            "not an MLflow store", where=str(path), remedy="name another file in tracking.uri"
        )
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if revision == scripts.get_current_head():
        return
    try:
        scripts.get_revision(revision)
    except CommandError as error:
        raise TrackingError(
            f"the MLflow store was written by a newer MLflow than {mlflow.__version__}",
            where=str(path),
            remedy="use that MLflow, or name another file in tracking.uri",
        ) from error
    raise TrackingError(
        f"the MLflow store was written by an older MLflow than {mlflow.__version__}",
        where=str(path),
        remedy=f"copy it for safety, then run: mlflow db upgrade '{_sqlite_uri(path)}'",
    )


def _create(path: Path) -> None:
    show_line(f"Creating the MLflow store {path} (a few seconds, once)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new."))
    except OSError as error:
        raise TrackingError(f"cannot create the MLflow store ({error})", where=str(path)) from error
    try:
        fresh = folder / "mlflow.db"
        with mlflow_errors(_sqlite_uri(fresh)):
            client(_sqlite_uri(fresh)).search_experiments(max_results=1)
        if path.exists() and not path.stat().st_size:
            os.replace(fresh, path)
        else:
            # A link never replaces: where two processes create the store at once, both use the first
            # one's.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
    except OSError as error:
        raise TrackingError(f"cannot create the MLflow store ({error})", where=str(path)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
