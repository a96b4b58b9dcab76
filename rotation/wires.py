"""The table of wires: one row for each way to reach a target, with everything that depends on it.

A wire is a connector that keeps the contract of `connectors.base`, and what else has to be known to offer
it: which credentials it can change, where it is usually answered, which names its accounts may have, and by
what a target shows that it is the same one. Adding a wire adds its modules and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rotation.connectors import base, words
from rotation.connectors.reasons import Table
from rotation.connectors.ssh import reasons as ssh_reasons
from rotation.connectors.ssh.connector import SshConnector, SshScanner


@dataclass(frozen=True)
class Wire:
    """One way to reach a target."""

    name: str  # in `Instance.wire` and `Endpoint.wire`; never changes
    label: str  # what people call it
    connect: Callable[[base.Endpoint], base.Connector]
    scanner: base.Scanner
    kinds: frozenset[base.Kind]  # of credentials that it can change
    ports: tuple[int, ...]  # where it is answered usually, the first of them unless somebody says otherwise
    is_username: Callable[[str], bool]  # whether an account there may be called so
    identity: base.Identity  # what is pinned
    reasons: Table  # those that it alone can report
    lines: Mapping[str, str]  # of a checklist, that it alone has


SSH: Final = Wire(
    name="ssh",
    label="SSH",
    connect=SshConnector,
    scanner=SshScanner(),
    kinds=frozenset({base.Kind.PASSWORD, base.Kind.KEY}),
    ports=(22,),
    is_username=words.is_username,
    identity=base.Identity.HOST_KEY,
    reasons=ssh_reasons.SSH,
    lines=ssh_reasons.LINES,
)

TABLE: Final[Mapping[str, Wire]] = MappingProxyType({wire.name: wire for wire in (SSH,)})


def choices() -> list[tuple[str, str]]:
    """Name and label of each wire; a function, so that a new wire needs no migration."""
    return [(wire.name, wire.label) for wire in TABLE.values()]


def of(name: str) -> Wire:
    """Return the wire of this name. Raises `KeyError` where there is none."""
    return TABLE[name]


def is_username(wire: str, name: str) -> bool:
    """Whether an account over this wire may be called so; over one that is not in the table, none may."""
    return wire in TABLE and TABLE[wire].is_username(name)


def usual_port(wire: str) -> int | None:
    """Return the port that need not be said."""
    return TABLE[wire].ports[0] if wire in TABLE else None


def identity(wire: str) -> str:
    """Return what is pinned over this wire: nothing over one that is not in the table."""
    return TABLE[wire].identity.value if wire in TABLE else ""


def connect(endpoint: base.Endpoint) -> base.Connector:
    """Return a connector for this endpoint, by its wire."""
    return of(endpoint.wire).connect(endpoint)


class Scanner:
    """Asks any target what it shows, by its wire, as `base.Scanner`."""

    def scan(self, endpoint: base.Endpoint, *, timeout: float) -> tuple[base.HostKey, ...]:
        """As `base.Scanner.scan`."""
        return of(endpoint.wire).scanner.scan(endpoint, timeout=timeout)
