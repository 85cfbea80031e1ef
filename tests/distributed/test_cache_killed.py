"""The driver of a cache fill is killed by SIGKILL; the same command completes the fill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liftray.cache.store import Store
from liftray.config import Settings, to_yaml
from liftray.data.batch import TRAIN
from liftray.train.prepare import prepare_run
from tests.parts import tiny

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 300


def test_committed_entries_stay_and_the_rest_is_filled(parts: dict[str, Any], tmp_path: Path) -> None:
    many = {"t": tiny.dataset(tmp_path / "many", tiny.chains([60] * 600, seed=3))}
    cut_short = _settings(parts, tmp_path / "killed", data__train=many)
    with (tmp_path / "log").open("wb") as log:
        job = subprocess.Popen(_command(cut_short, tmp_path), cwd=_ROOT, env=_environment(), stderr=log)
        try:
            _wait_for_a_shard(tmp_path / "killed", job, tmp_path / "log")
        finally:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
    kept = {path: path.read_bytes() for path in (tmp_path / "killed").rglob("*.ledger")}
    unbroken = _settings(parts, tmp_path / "unbroken", data__train=many)
    for chosen in (cut_short, unbroken):
        done = subprocess.run(
            _command(chosen, tmp_path), cwd=_ROOT, env=_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.read_bytes() for path in kept} == kept, "what was there was computed again"
    one, other = (prepare_run(chosen).stored_prefix() for chosen in (cut_short, unbroken))
    assert one is not None
    assert other is not None
    assert not Store.open(one.root, one.key).missing(one.all_ids())
    for item in range(len(one.ids[TRAIN])):
        assert np.array_equal(one.read(TRAIN, item), other.read(TRAIN, item))


def _settings(parts: dict[str, Any], root: Path, **overrides: Any) -> Settings:
    return tiny.settings(**{**parts, "cache__dir": str(root), **overrides})


def _command(chosen: Settings, folder: Path) -> list[str]:
    file = folder / f"{Path(chosen.cache.dir).name}.yaml"
    file.write_text(to_yaml(chosen))
    return [sys.executable, str(_ROOT / "jobs" / "cache.py"), "--config", str(file)]


def _environment() -> dict[str, str]:
    """Without this process's own cluster: the job must start another."""
    return {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "PYTHONPATH": str(_ROOT)}


def _wait_for_a_shard(root: Path, job: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if any(root.rglob("*.ledger")):
            return
        assert job.poll() is None, log.read_text()[-3000:]
        time.sleep(0.01)  # a poll: the loop ends when the shard is there
    pytest.fail(f"no shard came: {log.read_text()[-3000:]}")
