"""Simulated Windows hosts with accounts to rotate, and what breaks on their wire."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab.windows.wsman import OPERATIONS, Endpoint
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, windows_instances
from tests.chaos.naive import FIRST

ACCOUNTS = ("svc", "web")
#: The connection ends without an answer, or HTTP gives an error in its place.
LOST = ("drop", "503")


@dataclass
class Target:
    """One secret and the simulated host that its account is on, as `Watched`."""

    secret: Secret
    at: Endpoint
    username: str

    @property
    def place(self) -> str:
        return f"{self.username} on the Windows host at {self.at.address}"

    def is_lost(self) -> bool:
        """As `Watched.is_lost`; the host is read first, as the store is ahead."""
        with self.at.host.lock:
            there = self.at.host.accounts[self.username].password
        kept = self.secret.versions.filter(sealed__isnull=False).order_by("-created_at")
        return not any(there == versions.value(version).password.reveal() for version in kept)

    def has(self, version_pk: object) -> bool:
        value = versions.value(self.secret.versions.get(pk=version_pk)).password.reveal()
        return self.at.host.accepts(self.username, value)


@contextmanager
def running(count: int) -> Iterator[list[Endpoint]]:
    """So many hosts, each with the accounts to rotate and none that is registered yet."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(windows_instances.running(f"127.0.45.{number}"))
            for number in range(1, count + 1)
        ]
        for at in made:
            for name in ACCOUNTS:
                at.host.add_account(name, FIRST)
        yield made


def prepare(at: Endpoint) -> list[Target]:
    """Register the host, with a secret for each of its accounts."""
    instance = windows_instances.register(at)
    made = [
        Target(factories.secret(instance=instance, username=name, initial=FIRST), at, name)
        for name in ACCOUNTS
    ]
    for target in made:
        factories.settle(target.secret)
    return made


def break_an_operation(at: Endpoint, chance: random.Random) -> None:
    """Lose the answer to one of the next operations, before or after it is carried out."""
    when, what = chance.choice(["before", "after"]), chance.choice(LOST)
    at.arm(chance.choice(OPERATIONS), when, what, nth=chance.randint(1, 3))
