"""Simulated machines at addresses, each with a host key of its own, that keep what they were offered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from rotation import instance_checks
from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.engine import engine
from rotation.inventory import identities, instances, management
from rotation.models import Instance, Run
from secrets_app.crypto.plaintext import Plaintext
from tests import factories

SHARED = "keyturn"  # the account of `factories.credential`


@dataclass
class Machine:
    """A host, the key that it shows, and every value that it was offered."""

    host: MemoryHost = field(default_factory=MemoryHost)
    key: base.HostKey = field(default_factory=factories.host_key)
    heard: set[str] = field(default_factory=set, repr=False)


class Network:
    """Which machine answers at which address."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, int], Machine] = {}

    def connect(self, endpoint: base.Endpoint) -> Any:
        """A connection that is refused where the machine shows a key that is not trusted."""
        machine = self.at.get((endpoint.address, endpoint.port))
        if machine is None:
            return MemoryConnector(MemoryHost(unreachable=True))
        if machine.key.line not in endpoint.host_keys:
            return MemoryConnector(MemoryHost(host_key_changed=True))
        return _Listening(machine)

    def scan(self, endpoint: base.Endpoint, *, timeout: float) -> tuple[base.HostKey, ...]:
        """As `Scanner.scan`."""
        if (endpoint.address, endpoint.port) not in self.at:
            raise base.Unreachable
        return (self.at[endpoint.address, endpoint.port].key,)

    def register(self, machine: Machine, **given: Any) -> Instance:
        """An instance that stands for `machine`, its key approved and, then, its connection tested."""
        made = factories.instance(keys=[machine.key], **given)
        self.at[made.address, made.port] = machine
        if given.get("approved", True):
            self.drive(instance_checks.check(made, actor=factories.administrator()))
            made.refresh_from_db()
        return made

    def drive(self, run: Run, turns: int = 1) -> Run:
        """Let a worker take the run up, `turns` times, whatever time it waits for."""
        for _ in range(turns):
            past = Now() - timedelta(seconds=1)
            Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
            engine.advance(run.pk, worker="w", connect=self.connect, scanner=self)
        run.refresh_from_db()
        return run


class _Listening:
    """A connection whose machine keeps every value in what it is asked."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._inner = machine, MemoryConnector(machine.host)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        asked = getattr(self._inner, name)

        def heard(*args: Any, **given: Any) -> Any:
            self._machine.heard |= set(_values((*args, *given.values())))
            return asked(*args, **given)

        return heard


def _values(given: object) -> Iterator[str]:
    if isinstance(given, Plaintext):
        yield given.reveal()
    elif isinstance(given, base.Manager) and given.login.username == SHARED:
        return  # a management credential: it has a rule of its own
    elif isinstance(given, tuple | list):
        for one in given:
            yield from _values(one)
    elif is_dataclass(given):
        for part in fields(given):
            yield from _values(getattr(given, part.name))


def approve(instance: Instance, *keys: base.HostKey) -> None:
    """Trust exactly these keys of the instance."""
    identities.see_host_keys(instance, keys)
    actor = factories.administrator()
    identities.approve_host_keys(instance, [key.fingerprint for key in keys], actor=actor)


def move(instance: Instance, *, address: str = "", port: int = 0) -> Instance:
    """Give the instance another address or port, and a credential again, as some user did."""
    instance.refresh_from_db()
    instances.change(
        instance,
        revision=instance.revision,
        name=instance.name,
        address=address or instance.address,
        port=port or instance.port,
        actor=factories.administrator(),
    )
    return instance


def attach(instance: Instance) -> None:
    """Have the instance managed with a credential that belongs to somebody else."""
    management.attach(instance, factories.credential(), actor=factories.administrator())
