"""Real hosts as instances: registered as an operator would, by a scan, a comparison and an approval."""

from __future__ import annotations

from typing import Protocol

from lab import Host
from rotation.connectors.base import HostKey
from rotation.connectors.ssh.connector import SshScanner
from rotation.inventory import identities
from rotation.models import Instance
from tests import factories
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint


class Place(Protocol):
    """Where an instance answers: a host, or a relay before it."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...


def register(host: Host, key: KeyPair, *, at: Place | None = None, **credential: object) -> Instance:
    """Register `host`, at the place of its relay if there is one, with a login by `key` for Keyturn."""
    place = at or host
    name = f"{host.name}-{at.port}" if at else host.name
    login = factories.credential(private_key=key.private, **credential)
    instance = factories.instance(
        name=name, address=place.address, port=place.port, keys=[], credential=login
    )  # fmt: skip
    shown = scan(host)
    assert {key.line for key in shown} <= {" ".join(line.split()[:2]) for line in host.host_keys()}
    pin(instance, shown)
    return instance


def approve(instance: Instance) -> None:
    """Pin what the host shows now, as an operator who compared it would."""
    pin(instance, scan(instance))


def scan(place: Place | Instance) -> tuple[HostKey, ...]:
    """Return the host keys that are shown there."""
    return SshScanner().scan(endpoint(place.address, place.port), timeout=30)


def pin(instance: Instance, keys: tuple[HostKey, ...]) -> None:
    """Approve exactly these keys."""
    identities.see_host_keys(instance, keys)
    fingerprints = [key.fingerprint for key in keys]
    identities.approve_host_keys(instance, fingerprints, actor=factories.administrator())
