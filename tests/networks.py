"""Where the tests' hosts are, for a connector that a test makes by itself: on this machine."""

from __future__ import annotations

from ipaddress import ip_network

from rotation.connectors.base import Endpoint
from rotation.connectors.networks import EVERYWHERE, Networks

HERE = Networks(allowed=(*EVERYWHERE, ip_network("127.0.0.0/8")))


def endpoint(address: str, port: int, host_keys: tuple[str, ...] = (), *, wire: str = "ssh") -> Endpoint:
    """Return a place on this machine."""
    return Endpoint(address, port, host_keys, networks=HERE, wire=wire)
