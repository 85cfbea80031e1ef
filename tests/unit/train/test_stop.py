import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from liftray.train import stop
from liftray.train.stop import StopFile

CHILD = """
import sys, threading
from pathlib import Path
from liftray.train import stop

file, how = stop.StopFile(Path(sys.argv[1])), sys.argv[2]

def work():
    print("ready", flush=True)
    if how == "obeys":
        while not file.requested():
            threading.Event().wait(0.01)
        return
    threading.Event().wait()

try:
    stop.run(work, file, grace_s=float(sys.argv[3]))
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(0 if file.requested() else 1)
"""


def _child(path: Path, how: str, grace_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(path), how, str(grace_s)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_requests_a_stop_and_the_work_ends_by_itself(
    number: signal.Signals, tmp_path: Path
) -> None:
    child = _child(tmp_path / "stop", "obeys", 60)
    child.send_signal(number)
    _, shown = child.communicate(timeout=60)
    assert child.returncode == 0
    assert f"{number.name}: stopping with a checkpoint within 60 s" in shown


def test_a_second_signal_ends_what_does_not_stop(tmp_path: Path) -> None:
    child = _child(tmp_path / "stop", "hangs", 600)
    child.send_signal(signal.SIGTERM)
    assert child.stderr is not None
    assert "second signal stops at once" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 130


def test_the_grace_period_ends_what_does_not_stop(tmp_path: Path) -> None:
    child = _child(tmp_path / "stop", "hangs", 0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 130


def test_a_request_of_an_earlier_attempt_stops_nothing(tmp_path: Path) -> None:
    file = StopFile(tmp_path / "run" / "stop")
    file.clear()
    file.request()
    seen: list[bool] = []
    stop.run(lambda: seen.append(file.requested()), file, grace_s=1)
    assert seen == [False]
    file.remove()
    assert not file.requested()
    assert list((tmp_path / "run").iterdir()) == []


def test_handlers_and_errors_of_the_work_are_left_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        stop.run(fail, StopFile(tmp_path / "stop"), grace_s=1)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_another_thread_than_the_main_one_works_directly(tmp_path: Path) -> None:
    names: list[str] = []
    file = StopFile(tmp_path / "stop")
    thread = threading.Thread(
        target=stop.run, args=(lambda: names.append(threading.current_thread().name), file, 1.0), name="trial"
    )
    thread.start()
    thread.join()
    assert names == ["trial"]
