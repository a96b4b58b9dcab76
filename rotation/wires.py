"""The table of wires: one row for each way to reach a target, with everything that depends on it.

A wire is a connector that keeps the contract of `connectors.base`, and what else has to be known to offer
it: which credentials it can change, where it is usually answered, which names its accounts may have, and by
what a target shows that it is the same one. Adding a wire adds its modules and a row here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from rotation.connectors import base, log_ons, words
from rotation.connectors.reasons import Table
from rotation.connectors.ssh import preparation
from rotation.connectors.ssh import reasons as ssh_reasons
from rotation.connectors.winrm import authorities
from rotation.connectors.winrm import names as winrm_names
from rotation.connectors.winrm import preparation as winrm_preparation
from rotation.connectors.winrm import reasons as winrm_reasons


@dataclass(frozen=True)
class Speech:
    """What talks to targets over a wire."""

    connect: Callable[[base.Endpoint], base.Target]  # and of the other parts those that it has
    scanner: base.Scanner


@dataclass(frozen=True)
class Comparison:
    """How a person sees on a target itself by what it shows that it is the same one."""

    command: str
    example: str  # of what the command prints a line about
    never: str  # a program that proves nothing, since it asks over the same network


@dataclass(frozen=True)
class Shown:
    """What that is called by which a target shows that it is the same one, within a sentence."""

    one: str
    many: str

    def count(self, number: int) -> str:
        """So many of them."""
        return f"{number} {self.one if number == 1 else self.many}"


@dataclass(frozen=True)
class Permits:
    """What the command that prepares a target does, and its opposite, in words of a page."""

    does: str
    undoes: str


@dataclass(frozen=True)
class Wire:
    """One way to reach a target."""

    name: str  # in `Instance.wire` and `Endpoint.wire`; never changes
    label: str  # what people call it
    os: str  # the system that is registered with it, as `Instance.OS` has it
    offer: str  # ... and what a form calls the two together
    speak: Callable[[], Speech]  # loads what talks to targets
    logs_in_as: str  # the wire whose management credentials are used: its own, or that of the same hosts
    kinds: frozenset[base.Kind]  # of credentials that it can change
    without: Mapping[str, frozenset[base.Kind]]  # ... but not where this operating system runs
    ports: tuple[int, ...]  # where it usually listens; the first one is the default
    is_username: Callable[[str], bool]  # whether an account there may be called so
    username_rule: str  # ... and that in one sentence
    least_sets: int  # of characters that its systems may demand of a password: fewer are refused by a policy
    account_problem: Callable[[str], str]  # what keeps a management account from being called so, or nothing
    identity: base.Identity  # what is pinned
    shown: Shown  # ... and what it is called
    expires_at: Callable[[str], datetime | None]  # ... and until when it is valid, if it has an end
    authority: (
        Callable[[str], base.HostKey] | None
    )  # reads what signs for targets, if one can be pinned instead
    elevates: bool  # whether a management account may need sudo
    compare: Comparison  # how a person sees it on the target itself
    prepare: Callable[[str, str], str]  # a command that lets this account in there, with this public key
    unprepare: Callable[[str, str], str]  # ... and one that takes that back
    permits: Permits  # ... and what the two do
    log_on: log_ons.Way  # how a user logs on to a target
    log_on_to: Mapping[str, log_ons.Way]  # ... and how where this operating system runs, if otherwise
    reasons: Table  # those that it alone can report
    lines: Mapping[str, str]  # of a checklist, that it alone has

    @property
    def connect(self) -> Callable[[base.Endpoint], base.Target]:
        """What makes a connector."""
        return self.speak().connect

    @property
    def scanner(self) -> base.Scanner:
        """What asks a target what it shows."""
        return self.speak().scanner


# Loaded when a target is first spoken to, or when a page asks what a connector can do: paramiko, requests and
# what they need are a fifth of what a start costs, and beat, `up` and most commands never need them.


@functools.cache
def _ssh() -> Speech:
    from rotation.connectors.ssh.connector import SshConnector, SshScanner

    return Speech(SshConnector, SshScanner())


@functools.cache
def _winrm() -> Speech:
    from rotation.connectors.winrm.connector import WinRmConnector, WinRmScanner

    return Speech(WinRmConnector, WinRmScanner())


@functools.cache
def _winrm_http() -> Speech:
    from rotation.connectors.winrm.connector import WinRmHttpConnector, WinRmNameScanner

    return Speech(WinRmHttpConnector, WinRmNameScanner())


SSH: Final = Wire(
    name="ssh",
    label="SSH",
    os="linux",
    offer="Linux over SSH",
    speak=_ssh,
    logs_in_as="ssh",
    kinds=frozenset({base.Kind.PASSWORD, base.Kind.KEY}),
    without=MappingProxyType({"windows": frozenset({base.Kind.KEY})}),
    ports=(22,),
    is_username=words.is_username,
    username_rule=words.USERNAME_RULE,
    least_sets=1,
    account_problem=preparation.account_problem,
    identity=base.Identity.HOST_KEY,
    shown=Shown("host key", "host keys"),
    expires_at=lambda _: None,
    authority=None,
    elevates=True,
    compare=Comparison(preparation.COMPARE, preparation.COMPARE_EXAMPLE, preparation.COMPARE_NEVER),
    prepare=preparation.command,
    unprepare=preparation.opposite,
    permits=Permits(preparation.DOES, preparation.UNDOES),
    log_on=preparation.log_on,
    log_on_to=MappingProxyType({"windows": log_ons.remote_desktop}),
    reasons=ssh_reasons.SSH,
    lines=ssh_reasons.LINES,
)

WINRM: Final = Wire(
    name="winrm",
    label="WinRM",
    os="windows",
    offer="Windows over WinRM",
    speak=_winrm,
    logs_in_as="winrm",
    kinds=frozenset({base.Kind.PASSWORD}),
    without=MappingProxyType({}),
    ports=(5986,),
    is_username=winrm_names.is_username,
    username_rule=winrm_names.USERNAME_RULE,
    least_sets=winrm_names.LEAST_SETS,
    account_problem=winrm_names.account_problem,
    identity=base.Identity.CERTIFICATE,
    shown=Shown("certificate", "certificates"),
    expires_at=authorities.expires_at,
    authority=authorities.read,
    elevates=False,
    compare=Comparison(
        winrm_preparation.COMPARE, winrm_preparation.COMPARE_EXAMPLE, winrm_preparation.COMPARE_NEVER
    ),
    prepare=winrm_preparation.command,
    unprepare=winrm_preparation.opposite,
    permits=Permits(winrm_preparation.DOES, winrm_preparation.UNDOES),
    log_on=log_ons.remote_desktop,
    log_on_to=MappingProxyType({}),
    reasons=winrm_reasons.WINRM,
    lines=winrm_reasons.LINES,
)

#: The same hosts without TLS. Each message is sealed with the keys of the NTLM logon, so who reads or changes
#: it must know the account's password; who merely answers at the address is not known before the logon.
WINRM_HTTP: Final = replace(
    WINRM,
    name="winrm-http",
    label="WinRM over HTTP",
    offer="Windows over WinRM by HTTP",
    speak=_winrm_http,
    ports=(5985,),
    identity=base.Identity.NAME,
    shown=Shown("computer name", "computer names"),
    expires_at=lambda _: None,
    authority=None,
    compare=Comparison(
        winrm_preparation.COMPARE_NAME, winrm_preparation.NAME_EXAMPLE, winrm_preparation.NAME_NEVER
    ),
)

#: No way to hosts of its own: how an account of a domain logs in to those of the other two.
KERBEROS: Final = replace(
    WINRM,
    name="winrm-kerberos",
    label="WinRM by Kerberos",
    offer="Windows over WinRM, by Kerberos",
    account_problem=winrm_names.domain_account_problem,
)

TABLE: Final[Mapping[str, Wire]] = MappingProxyType({wire.name: wire for wire in (SSH, WINRM, WINRM_HTTP)})

USUAL: Final = SSH  # where nothing else is said

#: The lines of a checklist that are about what a target shows, and those that say that it has changed.
_IDENTITY_LINES: Final = frozenset(
    line for wire in TABLE.values() for line in (wire.identity.value, wire.identity.changed)
)


@dataclass(frozen=True)
class Transport:
    """One way to be sure of a target, and to keep what is said from others, as a form offers it."""

    name: str
    wire: Wire
    label: str
    by_authority: bool = False  # what is pinned is no target's own, and is given by a user


#: Of each system that leaves a choice; the first is the usual one. There is none without a pin, and none
#: that falls back to another.
TRANSPORTS: Final[Mapping[str, tuple[Transport, ...]]] = MappingProxyType(
    {
        "windows": (
            Transport("https", WINRM, "HTTPS, the instance's own certificate is compared and approved"),
            Transport("authority", WINRM, "HTTPS, an authority signs its certificate", by_authority=True),
            Transport("http", WINRM_HTTP, "HTTP, each message is encrypted with the keys of the NTLM login"),
        )
    }
)
NO_SUCH_TRANSPORT: Final = (
    "Choose how Keyturn connects from the list. Basic authentication over HTTP and certificates that are not "
    "checked would show passwords to others, so they are not offered."
)

#: What a kind of secret is called on a wire.
KINDS: Final[Mapping[str, base.Kind]] = MappingProxyType(
    {"password": base.Kind.PASSWORD, "key_pair": base.Kind.KEY}
)


def choices() -> list[tuple[str, str]]:
    """Name and label of each wire; a function, so that a new wire needs no migration."""
    return [(wire.name, wire.label) for wire in TABLE.values()]


def offers() -> list[tuple[str, str]]:
    """Name of each wire that a system is reached over, and what a form calls the two together."""
    return [(wire.name, wire.offer) for wire in TABLE.values() if wire.logs_in_as == wire.name]


def logins() -> list[tuple[str, str]]:
    """Name of each way in which a management credential logs in, and what a form calls it."""
    return [*offers(), (KERBEROS.name, KERBEROS.offer)]


def login(name: str) -> Wire:
    """Return what is known of the way in which a management credential logs in. Raises `KeyError`."""
    return KERBEROS if name == KERBEROS.name else TABLE[name]


def is_kerberos(name: str) -> bool:
    """Whether a management credential that logs in so does it by Kerberos, and by nothing else."""
    return name == KERBEROS.name


def logs_in_as(wire: str) -> str:
    """Return the wire whose management credentials are used over this one, or that a login is for."""
    if wire == KERBEROS.name:
        return KERBEROS.logs_in_as
    return TABLE[wire].logs_in_as if wire in TABLE else wire


def shown(wire: str) -> Shown:
    """Return what is called that a target shows; of one over a wire that is not in the table, as usual."""
    return TABLE.get(wire, USUAL).shown


def is_about_identity(line: str) -> bool:
    """Whether this line of a checklist is about what a target shows, over whichever wire."""
    return line in _IDENTITY_LINES


def policy_problem(wire: str, sets: int) -> str:
    """Return why passwords of so few sets of characters may be refused over this wire, or nothing.

    Nothing is known of a wire that is not in the table.
    """
    if wire not in TABLE or sets >= TABLE[wire].least_sets:
        return ""
    least = TABLE[wire].least_sets
    return f"{TABLE[wire].offer}: the instance may refuse fewer than {least} sets. Choose at least {least}."


def expires_at(wire: str, blob: str) -> datetime | None:
    """Return until when what is pinned over a wire is valid; None if it has no end, or none is known."""
    return TABLE[wire].expires_at(blob) if wire in TABLE else None


def takes_authority(wire: str) -> bool:
    """Whether an authority may be pinned over this wire, which signs for targets."""
    return wire in TABLE and TABLE[wire].authority is not None


def is_authority(algorithm: str) -> bool:
    """Whether what is pinned under this word is not a target's own."""
    return algorithm == authorities.AUTHORITY


def transports(os: str) -> tuple[Transport, ...]:
    """Return what a form offers for a system; nothing where there is no choice."""
    return TRANSPORTS.get(os, ())


def transport(os: str, wire: str, *, by_authority: bool) -> Transport | None:
    """Return the one that a target has which is reached so; None for a system that leaves no choice."""
    same = (way for way in transports(os) if (way.wire.name, way.by_authority) == (wire, by_authority))
    return next(same, None)


def elevates(wire: str) -> bool:
    """Whether a management account over this wire may need sudo."""
    return wire in TABLE and TABLE[wire].elevates


def of(name: str) -> Wire:
    """Return the wire of this name. Raises `KeyError` where there is none."""
    return TABLE[name]


def is_username(wire: str, name: str) -> bool:
    """Whether an account over this wire may be called so; over one that is not in the table, none may."""
    return wire in TABLE and TABLE[wire].is_username(name)


def username_rule(wire: str) -> str:
    """Return what an account over this wire may be called, as a sentence; empty for one not in the table."""
    return TABLE[wire].username_rule if wire in TABLE else ""


def usual_port(wire: str) -> int | None:
    """Return the port that need not be said."""
    return TABLE[wire].ports[0] if wire in TABLE else None


def label(wire: str) -> str:
    """Return what people call this wire; its name where it is not in the table."""
    return TABLE[wire].label if wire in TABLE else wire


def has(wire: str, kind: base.Kind) -> bool:
    """Whether a credential of this kind can be changed over this wire on any target."""
    return wire in TABLE and kind in TABLE[wire].kinds


def takes(wire: str, kind: base.Kind, os: str) -> bool:
    """Whether a credential of this kind can be changed over this wire, on a target with this system."""
    return wire in TABLE and kind in TABLE[wire].kinds - TABLE[wire].without.get(os, frozenset())


def has_dependants(wire: str) -> bool:
    """Whether what runs as an account there is found, and can be given the account's new value."""
    return _has_part(wire, base.Dependants)


def ends_sessions(wire: str) -> bool:
    """Whether an account's sessions there can be ended."""
    return _has_part(wire, base.Sessions)


def _has_part(wire: str, part: type) -> bool:
    """Whether connectors of this wire have this part of the contract."""
    connect = TABLE[wire].connect if wire in TABLE else None
    return isinstance(connect, type) and issubclass(connect, part)


def identity(wire: str) -> str:
    """Return what is pinned over this wire: nothing over one that is not in the table."""
    return TABLE[wire].identity.value if wire in TABLE else ""


def log_on(wire: str, os: str, username: str, address: str, port: int, key_file: str) -> log_ons.LogOn:
    """Return how a user logs on to a target with this system; empty for a wire that is not in the table."""
    if wire not in TABLE:
        return log_ons.LogOn("")
    way = TABLE[wire].log_on_to.get(os, TABLE[wire].log_on)
    return way(username, address, port, key_file)


def comparison(wire: str) -> Comparison | None:
    """Return how a person sees on a target itself that it is the same one, where the wire is in the table."""
    return TABLE[wire].compare if wire in TABLE else None


def load() -> None:
    """Load what talks to targets, for a process that others are forked from."""
    for wire in TABLE.values():
        wire.speak()


def connect(endpoint: base.Endpoint) -> base.Target:
    """Return a connector for this endpoint, by its wire."""
    return of(endpoint.wire).connect(endpoint)


class Scanner:
    """Asks any target what it shows, by its wire, as `base.Scanner`."""

    def scan(self, endpoint: base.Endpoint, *, timeout: float) -> tuple[base.HostKey, ...]:
        """As `base.Scanner.scan`."""
        return of(endpoint.wire).scanner.scan(endpoint, timeout=timeout)
