"""An error is one line that states where, what and what to do; it survives Ray and is found behind Ray's errors."""

import pickle

import pytest

from liftray import errors
from liftray.errors import BackboneError, DataError, GateRefused, LiftrayError, find_liftray_error

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
        wanted = 2 if issubclass(kind, errors.InputError) else 3 if kind is errors.GateRefused else 1
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


def test_the_outermost_liftray_error_is_found() -> None:
    outer = DataError("outer")
    outer.__cause__ = GateRefused("inner")
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = outer
    assert find_liftray_error(wrapped) is outer
    loop = ValueError("its own cause")
    loop.__cause__ = loop
    assert find_liftray_error(loop) is None
