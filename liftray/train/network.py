"""The network interface over which workers exchange gradients: that of the address by which Ray knows their node.

Invariant: a worker connects to others by the address that its node joined the cluster with. Left to themselves, Gloo
and NCCL look the host name up, which is 127.0.1.1 on Debian, or take any interface. GLOO_SOCKET_IFNAME and
NCCL_SOCKET_IFNAME of a node's environment have precedence. Flow: launch -> [this on every worker] -> process group.
"""

import os
from typing import Any

from ray.train.torch import TorchConfig

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


class NodeTorchConfig(TorchConfig):
    """Ray Train's configuration of the process group, on the interface of each node's address."""

    @property
    def backend_cls(self) -> Any:
        """What Ray Train runs before the workers' function."""
        return _NodeBackend


class _NodeBackend(TorchConfig().backend_cls):  # type: ignore[misc]  # Ray's class has no public name
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(use_interface_of_node)
        super().on_start(worker_group, backend_config)


def use_interface_of_node() -> None:
    """Name the interface of this node's address to Gloo and NCCL, where the environment names none."""
    import ray

    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        for variable in _VARIABLES:
            os.environ.setdefault(variable, name)


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has an address.

    Args:
        address: An IPv4 or IPv6 address.

    Returns:
        Its name, such as `eth0`; None where no interface has it, as behind address translation.
    """
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        # A link-local IPv6 address is followed by its zone.
        if any(each.address.partition("%")[0] == address for each in addresses):
            return str(name)
    return None
