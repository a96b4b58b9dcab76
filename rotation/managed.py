"""The only writer of managed accounts, and the one entry where both domains move together.

A secret, its first value, the account it manages, its schedule and its first run are made in one
transaction, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from rotation import runs, schedules
from rotation.connectors import base
from rotation.models import USERNAME_PATTERN, HostKey, Instance, ManagedAccount, Run
from secrets_app import audit, lifecycle, passwords, policies, versions
from secrets_app.models import ECS_PREFIX, Principal, Region, Secret
from secrets_app.plaintext import Plaintext

Credential = ManagedAccount.Credential


class RegionMismatch(Exception):
    """A secret manages only instances of its own region."""


class AccountTaken(Exception):
    """Another secret manages this account on this instance; the message names it."""


class NoKeys(Exception):
    """A key pair can be managed on Linux only. Choose Password for a Windows instance."""


class BadUsername(ValueError):
    """An OS user has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."""


def create(
    name: str,
    *,
    region: Region,
    instance: Instance,
    username: str,
    actor: Principal,
    kind: str = Secret.Kind.PASSWORD,
    initial: Plaintext | None = None,
    description: str = "",
    password_policy: passwords.Policy | None = None,
    key_algorithm: str = "",
    tags: Mapping[str, str] | None = None,
    is_on: bool = False,
    period: timedelta = timedelta(days=30),
    rotate_now: bool = False,
) -> tuple[Secret, Run | None]:
    """Make a Managed ECS secret for an OS account that exists on `instance`.

    `name` comes without its `acs/ecs/` prefix or with it. An initial value is stored as current and
    *not yet verified*; the host is asked afterwards, by the run that is returned, so an instance that
    cannot be reached now does not prevent creation. Raises `RegionMismatch`, `AccountTaken`,
    `BadUsername`, `NoKeys`, `schedules.BadPeriod`, `policies.NotAllowed` and what `versions.given` and
    `lifecycle.create` raise; nothing is made then. A key pair is of `key_algorithm`, one of
    `keypairs.ALGORITHMS`; empty stands for the setting's.
    """
    policies.require(actor, policies.Action.CREATE_SECRET, region)
    check_account(region, instance, username, kind)
    schedules.check(period)
    is_key_pair = kind == Secret.Kind.KEY_PAIR
    key_algorithm = (key_algorithm or settings.KEY_ALGORITHM) if is_key_pair else ""
    with transaction.atomic():
        secret = lifecycle.create(
            full_name(name),
            region=region,
            kind=kind,
            actor=actor,
            description=description,
            password_policy=password_policy,
            key_algorithm=key_algorithm,
            tags=tags,
        )
        _manage(secret, instance, username, has_value=initial is not None)
        schedules.create(secret, is_on=is_on, period=period)
        audit.record(
            policies.Action.CREATE_SECRET,
            secret,
            actor=actor,
            details={"instance": instance.instance_id, "username": username},
        )
        run = None
        if initial is not None:
            versions.enter(secret, versions.given(secret, username, initial), actor=actor)
        if rotate_now:
            run = runs.start(secret, actor=actor, trigger=Run.Trigger.CREATION)
        elif initial is not None:
            run = runs.verify(secret, actor=actor, trigger=Run.Trigger.CREATION)
    return secret, run


def full_name(name: str) -> str:
    """Return `name` with the prefix that every ECS secret has."""
    return name if name.startswith(ECS_PREFIX) else ECS_PREFIX + name


def check_account(region: Region, instance: Instance, username: str, kind: str) -> None:
    """Return if a secret may manage this account. Raises as `create` does."""
    if instance.region_id != region.pk:
        raise RegionMismatch(
            f"{instance.name} is in {instance.region.name}. Choose an instance of {region.name}, "
            f"or create the secret in {instance.region.name}."
        )
    if kind == Secret.Kind.KEY_PAIR and instance.os == Instance.OS.WINDOWS:
        raise NoKeys(NoKeys.__doc__)
    if not re.match(USERNAME_PATTERN, username):
        raise BadUsername(BadUsername.__doc__)
    other = _manager_of(instance, username, kind)
    if other:
        raise AccountTaken(
            f"{other.secret.name} manages {username} on {other.instance.name} already. "
            "Use that secret, or delete it first."
        )


def _manager_of(instance: Instance, username: str, kind: str) -> ManagedAccount | None:
    """Find who manages this account, on this instance or on another row that is the same machine."""
    same = Instance.objects.filter(pk=instance.pk)
    approved = instance.host_keys.filter(state=HostKey.State.APPROVED)
    fingerprints = list(approved.values_list("fingerprint", flat=True))
    if instance.machine_id and fingerprints:
        # The same host key alone may be a cloned image; with the same machine-id it is the same machine.
        same = same | Instance.objects.filter(
            machine_id=instance.machine_id, host_keys__fingerprint__in=fingerprints
        )
    return (
        ManagedAccount.objects.filter(
            instance__in=same.values("pk"), username=username, kind=kind, released_at=None
        )
        .select_related("secret", "instance")
        .first()
    )


def _manage(secret: Secret, instance: Instance, username: str, *, has_value: bool) -> ManagedAccount:
    try:
        with transaction.atomic():
            return ManagedAccount.objects.create(
                secret=secret,
                instance=instance,
                username=username,
                kind=secret.kind,
                credential=Credential.NOT_VERIFIED if has_value else Credential.NO_VALUE,
            )
    except IntegrityError:
        raise AccountTaken(f"Another secret manages {username} on {instance.name} already.") from None


# ---------------------------------------------------------------- what is known of the credential


def note(account: ManagedAccount, credential: str, sentence: str = "") -> None:
    """Write what is now known of the account's credential, and why."""
    ManagedAccount.objects.filter(pk=account.pk).update(
        credential=credential, credential_sentence=sentence[:500]
    )


def note_verified(account: ManagedAccount, level: base.Level | None, *, rotated: bool = False) -> None:
    """Write that the host accepted the current value just now, and how that was shown."""
    fields = {"rotated_at": Now()} if rotated else {}
    ManagedAccount.objects.filter(pk=account.pk).update(
        credential=Credential.IN_SYNC,
        credential_sentence="",
        verified_at=Now(),
        verified_level=level or "",
        **fields,
    )


def raise_generation(account: ManagedAccount, on_host: int) -> int:
    """Return the next attempt's number, above ours and the host's, and keep it."""
    account.refresh_from_db(fields=["generation"])
    account.generation = max(account.generation, on_host) + 1
    ManagedAccount.objects.filter(pk=account.pk).update(generation=account.generation)
    return account.generation
