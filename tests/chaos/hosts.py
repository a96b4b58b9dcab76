"""Linux hosts with accounts to rotate, registered as an operator would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lab import Host
from lab.hosts import _crypt
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, lab_instances
from tests.chaos.naive import FIRST
from tests.lab_fixtures import KeyPair


class Watched(Protocol):
    """One secret, and what is true of its account on a host, however that one is reached."""

    secret: Secret

    @property
    def place(self) -> str:
        """The account and its host, to name them."""
        ...

    def is_lost(self) -> bool:
        """Whether nothing that is stored opens the account."""
        ...

    def has(self, version_pk: object) -> bool:
        """Whether the account is open to this version."""
        ...


@dataclass
class Target:
    """One secret and the host that its account is on."""

    secret: Secret
    host: Host

    @property
    def username(self) -> str:
        return "svc" if self.secret.kind == Secret.Kind.PASSWORD else "app"

    @property
    def place(self) -> str:
        return f"{self.username} on {self.host.name}"

    def is_lost(self) -> bool:
        """As `Watched.is_lost`; the host is read first, as the store is ahead."""
        if self.username == "app":
            there = self.host.authorized_keys("app")
            stored = self.secret.versions.filter(sealed__isnull=False).values_list("public_key", flat=True)
            return not any(key.split()[1] in there for key in stored)
        there = self.host.shadow("svc")
        kept = self.secret.versions.filter(sealed__isnull=False).order_by("-created_at")
        return not any(there == _crypt(versions.value(v).password.reveal(), there) for v in kept)

    def has(self, version_pk: object) -> bool:
        """Whether the account is open to this version."""
        version = self.secret.versions.get(pk=version_pk)
        if self.username == "app":
            return version.public_key.split()[1] in self.host.authorized_keys("app")
        return self.host.shadow_accepts("svc", versions.value(version).password.reveal())


def prepare(host: Host, key: KeyPair) -> Secret:
    """A host with one password secret, of `svc`, and an account for the naive rotator."""
    host.add_account("svc", password=FIRST)
    host.add_account("naive", password=FIRST)
    made = factories.secret(instance=lab_instances.register(host, key), initial=FIRST)
    factories.settle(made)
    return made


def prepare_both(host: Host, key: KeyPair) -> list[Target]:
    """The same, and a key pair of `app`."""
    password = prepare(host, key)
    pair = key_pairs.generate("ed25519")
    host.add_account("app", authorized_keys=[pair.public_key])
    app = factories.secret(
        instance=password.managed.instance, username="app", kind="key_pair", key_algorithm="ed25519",
        initial=pair.private_key.reveal(),
    )  # fmt: skip
    factories.settle(app)
    return [Target(password, host), Target(app, host)]
