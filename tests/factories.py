"""Rows that tests need but do not talk about. Each call makes new ones, with names of their own.

The names begin anew with each empty store, so that the rows are the same ones in each test; see `snapshots`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from types import NoneType

from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone

from rotation.connectors import base
from rotation.inventory import identities, instances, management
from rotation.managed import creation, dependants
from rotation.models import Instance, ManagementCredential, Run
from secrets_app import regions
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Principal, Region, Secret, User
from secrets_app.people import users
from secrets_app.policy import policies
from secrets_app.secrets import lifecycle, versions
from tests import snapshots

PASSWORD = "correct horse battery staple"


class _Numbers:
    """What makes a name one of its own."""

    last = 0
    #: Where the count was after what was made at a number.
    after: dict[Hashable, int] = {}


def begin() -> None:
    """Count from one again: the store is empty."""
    _Numbers.last = 0


def _next() -> int:
    _Numbers.last += 1
    return _Numbers.last


def once(make: Callable[[], object], *what: object) -> None:
    """Have `make` write its rows, or write those that it wrote in a test before for the same values.

    A row among `what` is told by all that the store has of it: a test may have changed it without an event.
    """
    if not all(isinstance(one, (str, int, timedelta, Model, NoneType)) for one in what):
        make()
        return
    key = (_Numbers.last, *(snapshots.row(one) if isinstance(one, Model) else one for one in what))
    snapshots.put_or_make(key, make)
    _Numbers.last = max(_Numbers.last, _Numbers.after.setdefault(key, _Numbers.last))


def user(username: str, *groups: str, **fields: object) -> User:
    """Somebody who can sign in with `PASSWORD`."""

    def make() -> None:
        users.create(
            username,
            Plaintext(PASSWORD),
            groups=groups,
            must_change_password=False,
            **fields,  # type: ignore[arg-type]
        )

    once(make, "user", username, *groups, *itertools.chain(*fields.items()))
    return User.objects.get(username=username)


def deny(*actions: str, to: str = users.ADMINISTRATORS) -> None:
    """From now on nobody in this group may do these, whatever else allows it."""
    statement = {"Effect": "Deny", "Action": [str(action) for action in actions], "Resource": "*"}
    text = json.dumps({"Version": "1", "Statement": [statement]})
    name, group = f"denied-{_next()}", Group.objects.get(name=to)

    def make() -> None:
        policy = policies.create(name, text, actor=administrator())
        policies.attach(policy, group, actor=administrator())

    once(make, name, text, group)


def administrator() -> Principal:
    """The principal that owns what a test does not say the owner of."""
    found = User.objects.filter(username="factory").first()
    return (found or user("factory", "administrators")).principal


def region(code: str = "main") -> Region:
    """The region with this code, made where it is not there."""
    regions.account()
    if found := Region.objects.filter(code=code).first():
        return found
    actor = administrator()
    once(lambda: regions.create(code, code.title(), actor=actor), "region", code)
    return Region.objects.get(code=code)


def credential(
    *, sudo: str = "passwordless", private_key: str = "", **fields: object
) -> ManagementCredential:
    """A management credential with Keyturn's own key, or with this one, or with a password if it must."""
    given: dict[str, object] = {"private_key": Plaintext(private_key)} if private_key else {}
    if str(fields.get("wire", "")).startswith("winrm"):
        sudo = "none"
        given |= {} if "password" in fields else {"password": Plaintext("A-login-password-1")}
    name = f"fleet-{_Numbers.last + 1}"

    def make() -> None:
        _next()
        actor = administrator()
        username = str(fields.pop("username", "keyturn"))
        management.create_credential(name, username, sudo=sudo, actor=actor, **given, **fields)  # type: ignore[arg-type]

    once(make, "credential", sudo, private_key, *itertools.chain(*fields.items()))
    return ManagementCredential.objects.get(name=name)


def host_key(number: int | None = None) -> base.HostKey:
    """A host key that no host has."""
    number = number or _next()
    return base.HostKey("ssh-ed25519", f"AAAA{number}", f"SHA256:{number:043d}")


def instance(
    *,
    region: Region | None = None,
    credential: ManagementCredential | None = None,
    keys: Iterable[base.HostKey] | None = None,
    approved: bool = True,
    controlled: bool = False,
    **fields: object,
) -> Instance:
    """A registered instance with an approved host key and a management credential.

    Unless it is `controlled`, its daily try with a random wrong password is behind it.
    """
    first = _Numbers.last + 1
    defaults = {"address": f"127.9.{first // 250}.{first % 250 + 1}", "name": f"web-{first:03d}"} | fields
    name = str(defaults.pop("name"))
    place = region or globals()["region"]()

    def make() -> None:
        number = _next()
        made = instances.register(
            name,
            region=place,
            credential=credential or globals()["credential"](wire=fields.get("wire", "ssh")),
            actor=administrator(),
            **defaults,  # type: ignore[arg-type]
        )
        seen = list(keys) if keys is not None else [host_key(number)]
        identities.see_host_keys(made, seen)
        if approved and seen:
            identities.approve_host_keys(made, [key.fingerprint for key in seen], actor=administrator())
        if not controlled:
            Instance.objects.filter(pk=made.pk).update(control_at=timezone.now() - timedelta(hours=1))

    given = itertools.chain(*fields.items())
    once(make, "instance", name, place, credential, keys, approved, controlled, *given)
    related = ("region__account", "account", "credential")
    return Instance.objects.select_related(*related).get(region=place, name=name)


def secret(
    *,
    instance: Instance | None = None,
    initial: str | None = None,
    name: str = "",
    username: str = "svc",
    **fields: object,
) -> Secret:
    """A Managed ECS secret of an account; without `initial` it has no value yet.

    Its first run is left queued.
    """
    on = instance or globals()["instance"]()
    name = name or f"svc-{_Numbers.last + 1}"

    def make() -> None:
        _next()
        creation.create(
            name,
            region=on.region,
            instance=on,
            username=username,
            actor=administrator(),
            initial=Plaintext(initial) if initial else None,
            **fields,  # type: ignore[arg-type]
        )

    once(make, "secret", name, on, on.credential, username, initial, *itertools.chain(*fields.items()))
    related = ("managed__instance__region", "region", "account")
    # Others of this name may have been purged.
    named = Secret.objects.filter(region=on.region, name=creation.full_name(name), purged_at=None)
    return named.select_related(*related).get()


def windows_secret(
    *, instance: Instance, failed: Iterable[str] = (), initial: str = "The-old-1-word"
) -> Secret:
    """A secret of a Windows account, and services that failed to get its current value."""
    made = secret(instance=instance, initial=initial)
    settle(made)
    chosen = [("service", service) for service in failed]
    dependants.choose(made, chosen, actor=administrator(), restarts=True)
    rows = list(made.managed.dependants.all())
    dependants.settle(rows, "failed", "dependant_denied", "The management account may not change it.")
    return made


def generic_secret(
    *, region: Region | None = None, value: str | None = None, name: str = "", **fields: object
) -> Secret:
    """A secret that belongs to no instance; without `value` it has none yet."""
    name = name or f"token-{_next()}"
    place = region or globals()["region"]()

    def make() -> None:
        actor = administrator()
        made = lifecycle.create(name, region=place, type=Secret.Type.GENERIC, actor=actor, **fields)  # type: ignore[arg-type]
        if value is not None:
            versions.enter(made, versions.given(made, "", Plaintext(value)), actor=actor)

    once(make, "generic", name, place, value, *itertools.chain(*fields.items()))
    return Secret.objects.select_related("region", "account").get(region=place, name=name, purged_at=None)


def settle(secret: Secret) -> None:
    """End the secret's queued runs as if they had never been asked for."""
    Run.objects.filter(secret=secret, state=Run.State.QUEUED).delete()
