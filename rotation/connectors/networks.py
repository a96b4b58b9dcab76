"""Where a connection may go: plain rules over addresses, for every connector and for a form.

An address is judged twice: as it is typed, where it is one, and as it was found for the connection that is
about to be made, which then goes to that very address. So a name that means another machine a moment later
(DNS rebinding) leads nowhere new. Nothing here opens a connection.

Ranges: IANA's special-purpose registries (RFC 6890). Embedded addresses: RFC 4291, 6052, 3056, 4380, 5214.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Iterable[str]]  # a name and a port to addresses; nothing where there are none

EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
#: Addresses that no single host has: unspecified, "this network", multicast, reserved, broadcast.
NOWHERE: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
)
#: What is near to this machine alone. A network that is named, and lies in one of these, opens itself.
NEAR: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8", "::1/128",  # loopback
        "169.254.0.0/16", "fe80::/10",  # link-local, with the clouds' metadata services
        "192.0.0.0/24",  # IETF protocol assignments
        "100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128",  # metadata: Alibaba, AWS, Google
        "64:ff9b:1::/48",  # NAT64 of a network's own, which embeds an address where it likes
    )
)  # fmt: skip
_COMPATIBLE = ip_network("::/96")
_NAT64 = ip_network("64:ff9b::/96")
_TRANSLATED = ip_network("::ffff:0:0:0/96")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}


@dataclass(frozen=True)
class Networks:
    """Where hosts may be. As it is by default: everywhere but near to this machine."""

    allowed: tuple[Network, ...] = EVERYWHERE
    forbidden: tuple[Network, ...] = ()  # these win
    services: tuple[tuple[str, int], ...] = ()  # names or addresses, and ports, that no host has: our own

    def allow(self, address: str) -> bool:
        """Whether a host may have this address, on any port. False for a text that is no IP address."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        outer, *inner = _meant(parsed)
        return self._lets(outer) and all(self._is_open(part) for part in inner)

    def allow_typed(self, text: str) -> bool:
        """Whether an address or a name may be entered: a name is judged once it is resolved."""
        try:
            ip_address(text)
        except ValueError:
            return True
        return self.allow(text)

    def permit(self, address: str, port: int, *, resolve: Resolve) -> bool:
        """Whether a connection may be made to this address and port now; `resolve` finds our own services."""
        return self.allow(address) and not self._is_own(ip_address(address.partition("%")[0]), port, resolve)

    def _lets(self, address: Address) -> bool:
        return self._is_open(address) and _within(address, self.allowed)

    def _is_open(self, address: Address) -> bool:
        if _within(address, NOWHERE) or _within(address, self.forbidden) or _is_reserved(address):
            return False
        near = [network for network in NEAR if address in network]
        named = [network for network in self.allowed if address in network]
        return not near or any(_lies_in(place, other) for place in named for other in near)

    def _is_own(self, address: Address, port: int, resolve: Resolve) -> bool:
        meant = set(_meant(address))
        for name, own_port in self.services:
            if port == own_port:
                own = {
                    place
                    for text in resolve(name, port)
                    for place in _meant(ip_address(text.partition("%")[0]))
                }
                # What runs on this machine may answer on every address that the machine has.
                if meant & own or (any(map(is_here, own)) and any(map(is_here, meant))):
                    return True
        return False


DEFAULT = Networks()


def is_here(address: Address) -> bool:
    """Whether this machine has the address. Asks the kernel for a socket there, and sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False


def _meant(address: Address) -> tuple[Address, ...]:
    """What an address stands for, and every other one that it embeds."""
    if isinstance(address, IPv4Address):
        return (address,)
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in _NAT64 or address in _TRANSLATED:
        return (low,)  # a way of writing it, and no address of its own
    return (address, *_embedded(address, low))


def _embedded(address: IPv6Address, low: IPv4Address) -> Iterator[IPv4Address]:
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield low


def _is_reserved(address: Address) -> bool:
    if address in _COMPATIBLE:  # ::7f00:1, deprecated; only ::1 among them is a host
        return address != IPv6Address("::1")
    return address.is_reserved and not address.is_loopback


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _lies_in(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)
