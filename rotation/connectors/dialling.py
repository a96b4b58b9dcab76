"""Open the connection to a host: the one place that does, for every wire.

A name is resolved once, each of its addresses is judged by the networks of the settings, and the connection
goes to an address that was judged. No proxy, and no second look at the name.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rotation.connectors import reasons
from rotation.connectors.base import Peer, Unreachable


class Deadline:
    """An instant of monotonic time; clocks that are set do not move it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, never below zero."""
        return max(0.0, self._end - time.monotonic())


def _addresses(host: str, port: int, deadline: Deadline) -> Sequence[Any]:
    """Return the addresses of the name. Runs in a thread, because getaddrinfo(3) has no timeout."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    addresses: list[Any] = []

    def resolve() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            addresses.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(min(deadline.left(), threading.TIMEOUT_MAX) if deadline.left() < math.inf else None)
    if not addresses:
        raise Unreachable("The instance's name could not be resolved.")
    return tuple(addresses)


def dial(peer: Peer, deadline: Deadline, *, silent: str) -> socket.socket:
    """Connect to the first allowed address that answers.

    Raises `Unreachable`, with the sentence `silent` where none answers.
    """
    places = _addresses(peer.address, peer.port, deadline)
    permitted = [place for place in places if _is_permitted(peer, place[4][0], deadline)]
    if not permitted:
        raise Unreachable(reasons.sentence("forbidden_address"), code="forbidden_address")
    for family, kind, protocol, _, address in permitted:
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(deadline.left() or 0.001)
            plain.connect(address)
        except OSError:
            plain.close()
            continue
        return plain
    raise Unreachable(silent)


def _is_permitted(peer: Peer, address: str, deadline: Deadline) -> bool:
    def resolve(name: str, port: int) -> Iterator[str]:
        with contextlib.suppress(Unreachable, OSError):
            yield from (place[4][0] for place in _addresses(name, port, deadline))

    return peer.networks.permit(address, peer.port, resolve=resolve)
