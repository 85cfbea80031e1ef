"""A function in a process of its own: its result, its memory, its settings; and its failures."""

import os
from pathlib import Path

import pytest

from liftray.bench import process
from liftray.bench.process import MeasurementError
from liftray.errors import ConfigError

WORK = """
import os, random, sys

def settings():
    return [os.getpid(), os.environ["OMP_NUM_THREADS"], random.random(), hash("residue"), "numpy" in sys.modules]

def fill(megabytes, spike=0):
    bytearray(b"\\1") * (spike << 20)
    return len(bytearray(b"\\1") * (megabytes << 20)) >> 20

def chatter():
    print("not a result")
    return {"rows": [1, None, "x"]}

def fail():
    raise KeyError("no luck")

def forever():
    sys.stdin.close()
    while True:
        pass
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "heavy.py").write_text("ballast = bytearray(b'1') * (100 << 20)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_it_is_another_process_with_its_own_settings() -> None:
    first = process.run("work:settings", threads=3, seed=5).result
    again = process.run("work:settings", threads=1, seed=5, imports=["numpy"]).result

    assert os.getpid() not in (first[0], again[0])
    assert (first[1], again[1]) == ("3", "1")
    assert first[2:4] == again[2:4] != process.run("work:settings", seed=6).result[2:4]
    assert (first[4], again[4]) == (False, True)


def test_memory_is_counted_beyond_what_is_imported() -> None:
    ballast = bytearray(b"\1") * (300 << 20)
    small = process.run("work:fill", {"megabytes": 1})
    large = process.run("work:fill", {"megabytes": 200})
    loaded = process.run("work:fill", {"megabytes": 200}, imports=["heavy"])

    assert (small.result, large.result) == (1, 200)
    assert small.peak_bytes < len(ballast)
    assert 0 <= small.beyond_bytes < 50 << 20
    assert 180 << 20 < large.beyond_bytes < 260 << 20
    assert abs(loaded.beyond_bytes - large.beyond_bytes) < 20 << 20
    assert loaded.libraries_bytes - large.libraries_bytes > 90 << 20
    assert large.seconds > 0


def test_what_is_printed_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    assert process.run("work:chatter").result == {"rows": [1, None, "x"]}
    out, err = capfd.readouterr()
    assert (out, err) == ("", "not a result\n")


def test_a_users_error_comes_back_as_itself() -> None:
    with pytest.raises(ConfigError, match="no shape 'tinny'; did you mean tiny\\?"):
        process.run("liftray.bench.shapes:shape", {"name": "tinny"})


def test_any_other_failure_is_reported_with_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MeasurementError, match=r"work\.py, line 16: work:fail raised KeyError: 'no luck'"):
        process.run("work:fail")
    assert "Traceback" in capfd.readouterr().err


def test_a_result_that_is_no_json_is_a_failure() -> None:
    with pytest.raises(MeasurementError, match="not JSON serializable"):
        process.run("builtins:object")


def test_a_process_that_is_killed_or_hangs_is_reported() -> None:
    with pytest.raises(MeasurementError, match="os:abort ended with signal SIGABRT and no result"):
        process.run("os:abort")
    with pytest.raises(MeasurementError, match="did not end within 1 s"):
        process.run("work:forever", timeout_s=1)


def test_a_measurement_is_no_rank_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert process.run("os:getenv", {"key": "RANK"}).result is None
    assert process.run("os:getenv", {"key": "WORLD_SIZE"}).result is None
