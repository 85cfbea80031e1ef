"""Training across hosts whose own names resolve to a loopback address, as Debian sets them up."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from liftray.config import to_yaml
from tests.parts import tiny
from tests.parts.hosts import Host, hosts

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]

_ROOT = Path(__file__).resolve().parents[2]
_PORT, _CPUS = 6379, 3
_PATIENCE_S = 300


@dataclass
class Cluster:
    """A Ray cluster to which hosts are added, the first as its head."""

    members: list[Host]
    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.members[0].address}:{_PORT}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(_ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Nothing runs any more when the nodes are ended.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }

    def add_node(self, number: int) -> None:
        host = self.members[number]
        head = ["--head", f"--port={_PORT}", "--include-dashboard=false"]
        where = ["--address", self.address] if number else head
        options = [f"--node-ip-address={host.address}", f"--num-cpus={_CPUS}", "--block"]
        own = f"--temp-dir={self.folder / str(number)}"
        self.start(host, ["ray", "start", *where, *options, own], self.folder / f"{number}.log")

    def start(self, host: Host, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as output:
            process = host.start(command, output, self.environment)
        self.processes.append(process)
        return process


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two hosts, of which the first has a Ray node."""
    with ExitStack() as stack:
        members = stack.enter_context(hosts(2))
        folder = Path(tempfile.mkdtemp(prefix="lr"))  # short: socket paths hold 107 characters
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "token").write_text(secrets.token_hex(32))
        made = Cluster(members, folder)
        stack.callback(_end, made.processes)
        made.add_node(0)
        _wait(
            lambda: "Ray runtime started" in (folder / "0.log").read_text(),
            made.processes[0],
            folder / "0.log",
        )
        yield made


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait(reached: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if reached():
            return
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.1)  # a poll: the loop ends when the text is there
    pytest.fail(f"it never came so far: {log.read_text()[-3000:]}")


def test_a_run_waits_for_its_second_host_and_trains_on_both(
    cluster: Cluster, parts: dict[str, Any], mlflow_uri: str, tmp_path: Path
) -> None:
    chosen = tiny.settings(
        **{
            **parts,
            "train__epochs": 2,
            "tracking__uri": mlflow_uri,
            "registry__name": "",
            "run__dir": str(tmp_path / "run"),
            "run__ray_address": cluster.address,
            # One worker fills most of a node, so that each node gets one.
            "scaling__num_workers": 2,
            "scaling__cpus_per_worker": 2,
        }
    )
    (tmp_path / "c.yaml").write_text(to_yaml(chosen))
    command = [sys.executable, str(_ROOT / "jobs" / "train.py"), "--config", str(tmp_path / "c.yaml")]
    log = tmp_path / "log"
    impatient = cluster.start(cluster.members[0], [*command, "scaling.wait_s=0"], log)
    assert impatient.wait(timeout=_PATIENCE_S) == 2, log.read_text()[-3000:]
    assert (
        log.read_text()
        .splitlines()[-1]
        .startswith("error: 2 workers want 4 CPUs and the Ray cluster has 3; lower scaling.num_workers")
    )
    run = cluster.start(cluster.members[0], command, log)
    waiting = "ray: waiting up to 10 min for nodes: 2 workers want 4 CPUs and the Ray cluster has 3"
    _wait(lambda: waiting in log.read_text(), run, log)
    cluster.add_node(1)
    assert run.wait(timeout=_PATIENCE_S) == 0, log.read_text()[-3000:]
    assert "ray: the nodes are there" in log.read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["train"]["epochs"] == 2
