"""An error is one line that states where, what and what to do; it survives Ray and is found behind Ray's errors."""

import errno
import pickle
import sqlite3

import pytest

from liftray import errors
from liftray.errors import (
    BackboneError,
    DataError,
    GateRefused,
    LiftrayError,
    StorageError,
    describe_failure,
    find_liftray_error,
)

_KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LiftrayError)]


@pytest.mark.parametrize("kind", _KINDS)
def test_errors_are_one_line_and_survive_the_trip_from_a_worker(kind: type[LiftrayError]) -> None:
    error = kind("a\nb", where="x.yaml", remedy="do  c")
    # A gate's line begins with its code.
    refused = issubclass(kind, errors.GateRefused)
    assert str(error) == ("a b (x.yaml); do c" if refused else "x.yaml: a b; do c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.where, again.remedy) == ("a\nb", "x.yaml", "do  c")
    assert again.exit_code == kind.exit_code
    assert str(kind("a")) == "a"


def test_what_the_user_did_ends_with_2_and_a_refusal_with_3() -> None:
    for kind in _KINDS:
        users = issubclass(kind, errors.InputError | errors.DivergedError)
        wanted = 2 if users else 3 if kind is errors.GateRefused else 1
        if kind.__module__ == "liftray.errors":
            assert kind.exit_code == wanted


def test_the_cause_is_found_behind_errors_of_ray() -> None:
    exceptions, train = pytest.importorskip("ray.exceptions"), pytest.importorskip("ray.train")
    cause = BackboneError("no backbone", remedy="give one")
    task = exceptions.RayTaskError("f", "a long\nremote traceback", cause).as_instanceof_cause()
    assert isinstance(task, BackboneError)
    assert find_liftray_error(task) is cause
    assert find_liftray_error(train.ControllerError(task)) is cause
    assert find_liftray_error(train.WorkerGroupError("all", {0: ValueError("x"), 1: task})) is cause
    assert find_liftray_error(train.WorkerGroupError("all", {0: ValueError("x")})) is None


def test_an_unforeseen_failure_is_described_by_its_cause_and_worker() -> None:
    exceptions, train = pytest.importorskip("ray.exceptions"), pytest.importorskip("ray.train")
    task = exceptions.RayTaskError("f", "a long\nremote traceback", OSError("connection refused\nat once"))
    assert describe_failure(train.ControllerError(task)) == "OSError: connection refused (ControllerError)"
    failed = train.WorkerGroupError("all", {3: ValueError("x"), 1: task})
    assert describe_failure(failed) == "worker 1: OSError: connection refused (WorkerGroupError)"
    assert describe_failure(KeyError("k")) == "KeyError: 'k'"
    assert describe_failure(RuntimeError()) == "RuntimeError: no message"


def test_the_outermost_liftray_error_is_found() -> None:
    outer = DataError("outer")
    outer.__cause__ = GateRefused("inner")
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = outer
    assert find_liftray_error(wrapped) is outer
    loop = ValueError("its own cause")
    loop.__cause__ = loop
    assert find_liftray_error(loop) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "x", "/d/a"), "/d/a: no space left on device; free space, or choose another directory"),
        (PermissionError(errno.EACCES, "x", "/d/a"), "/d/a: permission denied; choose a directory that can be written"),
        (OSError(errno.EROFS, "x"), "read-only file system; choose a directory that can be written"),
        (FileExistsError(errno.EEXIST, "x", b"/data/\xff"), "/data/\\udcff: file exists; move away what is there"),
        (OSError("Error writing bytes. Detail: [errno 28] No space left on device"), "no space left on device; free"),
        (RuntimeError("IoError(Os { code: 28, kind: StorageFull })"), "no space left on device; free"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only file system; choose"),
        (sqlite3.OperationalError("database or disk is full"), "no space left on device; free"),
    ],
)  # fmt: skip
def test_a_disk_that_is_full_or_closed_is_the_users_to_know(error: Exception, text: str) -> None:
    outer = RuntimeError("a worker failed")
    outer.__cause__ = error
    for one in (error, outer):
        found = find_liftray_error(one)
        assert isinstance(found, StorageError)
        assert str(found).startswith(text)
        assert found.exit_code == 2


def test_a_known_error_is_preferred_to_its_cause() -> None:
    known = DataError("no room")
    known.__cause__ = OSError(errno.ENOSPC, "x")
    assert find_liftray_error(known) is known
    assert find_liftray_error(FileNotFoundError(errno.ENOENT, "x", "y")) is None
