import socket

import psutil

from liftray.train.network import interface_of


def test_every_address_of_this_machine_is_on_its_interface() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for each in addresses:
            if each.family == socket.AF_INET:
                found = interface_of(each.address)
                assert found is not None
                assert each.address in [one.address for one in psutil.net_if_addrs()[found]]
                assert found == name or len(psutil.net_if_addrs()) > 1


def test_an_address_of_another_machine_is_on_none() -> None:
    assert interface_of("192.0.2.1") is None  # reserved for documentation
