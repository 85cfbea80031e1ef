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
from collections.abc import Iterator
from dataclasses import dataclass
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
    """A Ray cluster with one node on each host, and what a driver on the first needs."""

    members: list[Host]
    address: str
    environment: dict[str, str]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="lr"))  # short: socket paths hold 107 characters
    (folder / "token").write_text(secrets.token_hex(32))
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    nodes: list[subprocess.Popen[bytes]] = []
    with hosts(2) as members, (folder / "log").open("wb") as log:
        address = f"{members[0].address}:{_PORT}"
        try:
            for host in members:
                where = (
                    ["--address", address]
                    if nodes
                    else ["--head", f"--port={_PORT}", "--include-dashboard=false"]
                )
                options = ["--block", f"--node-ip-address={host.address}", f"--num-cpus={_CPUS}"]
                own = [f"--temp-dir={folder / host.name[-2:]}"]
                nodes.append(host.start(["ray", "start", *where, *options, *own], log, environment))
                _wait_for(host, address, len(nodes), environment, folder / "log")
            yield Cluster(members, address, environment)
        finally:
            for node in reversed(nodes):
                node.send_signal(signal.SIGTERM)
                node.wait(timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(host: Host, address: str, count: int, environment: dict[str, str], log: Path) -> None:
    """Wait until the cluster has a number of nodes."""
    program = (
        f"import ray; ray.init({address!r}, log_to_driver=False, logging_level=40); "
        f"raise SystemExit(sum(node['Alive'] for node in ray.nodes()) < {count})"
    )
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        asked = subprocess.run(
            host.command([sys.executable, "-c", program]), env=environment, capture_output=True, check=False
        )
        if asked.returncode == 0:
            return
    pytest.fail(f"no cluster of {count} nodes: {log.read_text()[-3000:]}")


def test_two_hosts_train_together(
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
    done = subprocess.run(
        cluster.members[0].command(command),
        cwd=_ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["train"]["epochs"] == 2
