"""Hosts with addresses and names of their own on this machine: network namespaces on one bridge.

As on Debian, each host's own name resolves to 127.0.1.1.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        name: Its host name and the name of its namespace.
        address: Its IPv4 address.
    """

    name: str
    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs another one on this host."""
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, self.name, *words]

    def start(
        self, words: Sequence[str], log: IO[bytes], environment: dict[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start a process on this host."""
        return subprocess.Popen(self.command(words), env=environment, stdout=log, stderr=log)

    def link(self, state: str) -> None:
        """Set the host's link `up` or `down`."""
        _ip("-n", self.name, "link", "set", "eth0", state)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Build hosts that reach each other; skips the calling test where namespaces are not allowed.

    Args:
        count: Number of hosts.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, and the programs ip and unshare")
    token = secrets.token_hex(3)
    bridge = f"lrb{token}"
    # A network of 10.0.0.0/8 that nothing else here uses.
    net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
    with ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed: {error.stderr.strip()}")
        stack.callback(_ip, "link", "del", bridge)
        _ip("link", "set", bridge, "up")
        made = []
        for number in range(count):
            host = Host(f"lr{token}h{number}", f"{net}.{number + 1}")
            names = Path("/etc/netns") / host.name
            names.mkdir(parents=True)
            stack.callback(shutil.rmtree, names)
            (names / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n")
            _ip("netns", "add", host.name)
            stack.callback(_ip, "netns", "del", host.name)
            outer = f"lrv{token}{number}"
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", outer, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", link, "up")
            made.append(host)
        yield made


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
