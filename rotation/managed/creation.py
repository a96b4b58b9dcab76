"""Make a managed secret: the secret, its first value, the account, its schedule and first run, or nothing.

All of it is one transaction. An account has one manager for each kind of credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from rotation import accounts, binding, reasons, runs, schedules, wires
from rotation.inventory import holding, management
from rotation.models import HostKey, Instance, ManagedAccount, ManagementCredential, Run, Schedule
from secrets_app import keyring, names
from secrets_app.audit import trail
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import ECS_PREFIX, Key, Principal, Region, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, versions

Credential = ManagedAccount.Credential


class RegionMismatch(DomainError):
    """A secret manages only instances of its own region."""

    code = "region_mismatch"


class AccountTaken(DomainError):
    """Another secret manages this account on this instance; the message names it to who may see it."""

    code = "account_taken"


class KindUnsupported(DomainError):
    """A credential of this kind cannot be managed on this instance; the message says why."""

    code = "kind_unsupported"


class SharedAccount(DomainError):
    """Keyturn works on this instance as this account, by a shared credential; the message says which."""

    code = "account_shared"


class BadUsername(DomainError, ValueError):
    """No account on this instance can be called so; the message says what is allowed."""

    code = "username_invalid"


def create(
    name: str,
    *,
    region: Region,
    instance: Instance,
    username: str,
    actor: Principal,
    kind: str = Secret.Kind.PASSWORD,
    initial: Plaintext | None = None,
    version_id: str = "",
    description: str = "",
    password_policy: passwords.Policy | None = None,
    key_algorithm: str = "",
    tags: Mapping[str, str] | None = None,
    is_on: bool = False,
    period: timedelta = timedelta(days=30),
    cron: str = "",
    zone: str = "UTC",
    jitter: timedelta = timedelta(0),
    catch_up: str = Schedule.CatchUp.ONCE,
    rotate_now: bool = False,
    as_own_login: bool = False,
    key: Key | None = None,
) -> tuple[Secret, Run | None]:
    """Make a Managed ECS secret for an OS account that exists on `instance`.

    `name` comes without its `acs/ecs/` prefix or with it. An initial value is stored as current and
    *not yet verified*, as the version `version_id` if one is given; the host is asked afterwards, by the run
    that is returned, so an instance that cannot be reached now does not prevent creation. With
    `as_own_login`, Keyturn works on the instance as this account from now on, with this secret's value
    instead of the shared credential's, so an initial value is needed. Raises `RegionMismatch`,
    `AccountTaken`, `SharedAccount`, `BadUsername`,
    `KindUnsupported`, `holding.Retired`, `management.NoOwnLogin`, `recurrence.Unfit`,
    `decisions.NotAllowed` and what
    `versions.given` and `lifecycle.create` raise; nothing is made then. A key pair is of `key_algorithm`, one
    of `key_pairs.ALGORITHMS`; empty stands for the setting's. `key` seals its values; none stands for the
    default key.
    """
    require_creation(region, full_name(name), tags or {}, os=instance.os, actor=actor)
    if key is not None and key != keyring.default_key():
        decisions.require(actor, decisions.Action.DESCRIBE_KEY, key)
    check_account(region, instance, username, kind, actor=actor)
    if not as_own_login:
        refuse_shared(instance, username, actor=actor)
    elif initial is None:
        raise management.NoOwnLogin("Enter the account's present value: Keyturn logs in with it from now on.")
    with transaction.atomic(), trail.at_the_end():
        holding.instance(instance)
        secret = lifecycle.create(
            full_name(name),
            region=region,
            kind=kind,
            actor=actor,
            description=description,
            password_policy=password_policy,
            key_algorithm=key_algorithm,
            tags=tags,
            key=key,
        )
        _manage(secret, instance, username, has_value=initial is not None)
        schedules.create(
            secret, is_on=is_on, period=period, cron=cron, zone=zone, jitter=jitter, catch_up=catch_up
        )
        run, version = None, None
        if initial is not None:
            version = versions.enter(
                secret, versions.given(secret, username, initial), actor=actor, version_id=version_id
            )
        trail.record(
            decisions.Action.CREATE_SECRET,
            secret,
            actor=actor,
            version_id=version.version_id if version else "",
            value_mark=version.value_mark if version else "",
            details={"instance": instance.instance_id, "username": username, "key": secret.key.alias},
        )
        if as_own_login:
            management.log_in_with(instance, secret, sudo=_sudo_of(instance), actor=actor)
        if rotate_now:
            run = runs.start(secret, actor=actor, trigger=Run.Trigger.CREATION)
        elif initial is not None:
            run = runs.verify(secret, actor=actor, trigger=Run.Trigger.CREATION)
    return secret, run


def _sudo_of(instance: Instance) -> str:
    credential = instance.credential
    return credential.sudo if credential else ManagementCredential.Sudo.PASSWORDLESS


def require_creation(
    region: Region, name: str, tags: Mapping[str, str], *, os: str, actor: Principal
) -> None:
    """Return if `actor` may make a secret of this full name, for an instance with this operating system.

    `os` is empty while the instance is not known. Raises `decisions.NotAllowed`.
    """
    future = decisions.new_secret(region, name, tags, os)
    decisions.require(actor, decisions.Action.CREATE_SECRET, future)
    if tags:
        decisions.require(actor, decisions.Action.TAG_RESOURCE, future)


def refuse_shared(instance: Instance, username: str, *, actor: Principal) -> None:
    """Refuse to manage the account of a credential that other instances share."""
    credential = instance.credential
    if credential is not None and credential.username == username:
        is_known = decisions.allows(actor, decisions.Action.DESCRIBE_CREDENTIAL, credential)
        called = (
            f"the shared management credential {credential.name}"
            if is_known
            else ("a shared management credential")
        )
        raise SharedAccount(
            f"Keyturn works on {instance.name} as {username}, with {called}, "
            "which a secret would change for this instance alone. Let the instance log "
            "in with a secret of its own, or choose another account."
        )


def full_name(name: str) -> str:
    """Return `name` with the prefix that every ECS secret has."""
    return name if name.startswith(ECS_PREFIX) else ECS_PREFIX + name


def check_account(region: Region, instance: Instance, username: str, kind: str, *, actor: Principal) -> None:
    """Return if `actor` may have a secret manage this account. Raises as `create` does."""
    holding.require_registered(instance)
    if instance.region_id != region.pk:
        raise RegionMismatch(
            f"{instance.name} is in {instance.region.name}. Choose an instance of {region.name}, "
            f"or create the secret in {instance.region.name}."
        )
    if not _takes(instance, kind):
        raise KindUnsupported(_why_it_takes_none(instance, kind))
    if not wires.is_username(instance.wire, username):
        said = names.stranger(username, "A-Za-z0-9_.-")
        raise BadUsername(f"{said} {wires.username_rule(instance.wire)}".strip())
    accounts.require(instance, username, actor=actor)
    for other in managers_of(instance, username):
        # A key pair would be a way around a password that this user may not even see.
        if other.kind == kind or not _may_be_told(actor, other, instance):
            raise AccountTaken(why_taken(other, instance, "already", actor))


def kinds_taken(instance: Instance | None) -> list[str]:
    """Return the kinds of credential that can be managed there; all of them where no instance is chosen."""
    return [kind for kind in wires.KINDS if instance is None or _takes(instance, kind)]


def kinds_refused(instance: Instance) -> list[str]:
    """Say of each kind of credential that cannot be managed there why that is so."""
    return [_why_it_takes_none(instance, kind) for kind in wires.KINDS if not _takes(instance, kind)]


def _takes(instance: Instance, kind: str) -> bool:
    """Whether a credential of this kind can be changed there."""
    # A form refuses an unknown kind, but may call this before it has validated the field.
    return kind not in wires.KINDS or wires.takes(instance.wire, wires.KINDS[kind], instance.os)


def _why_it_takes_none(instance: Instance, kind: str) -> str:
    what = f"{Secret.Kind(kind).label.lower()}s"
    if not wires.has(instance.wire, wires.KINDS[kind]):
        why = reasons.sentence("unsupported", wires.label(instance.wire), f"change {what}")
        return f"{why} Choose another type."
    return f"Keyturn cannot manage {what} on a {instance.get_os_display()} instance. Choose another type."


def why_taken(other: ManagedAccount, asked: Instance, when: str, actor: Principal) -> str:
    """Say that an account is managed, and by which secret to those who may describe it."""
    if not _may_be_told(actor, other, asked):
        return (
            f"Another secret manages {other.username} on {asked.name} {when}. "
            "Choose another account, or ask an administrator."
        )
    advice = "Use that secret, or delete it first."
    if other.secret.is_pending_deletion:
        advice = "It is pending deletion: restore it, or wait until it is purged."
    return f"{other.secret.name} manages {other.username} on {other.instance.name} {when}. {advice}"


def _may_be_told(actor: Principal, other: ManagedAccount, asked: Instance) -> bool:
    """Whether `actor` may know the secret, and the instance where it is another row for the same machine."""
    if not decisions.allows(actor, decisions.Action.DESCRIBE_SECRET, other.secret):
        return False
    here = other.instance_id == asked.pk
    return here or decisions.allows(actor, decisions.Action.DESCRIBE_INSTANCE, other.instance)


def others(
    instance: Instance, username: str, *, but: ManagedAccount | None = None
) -> QuerySet[ManagedAccount]:
    """Find who else manages this account, by a password or a key pair."""
    managers = managers_of(instance, username)
    return managers.exclude(pk=but.pk) if but else managers


def told(other: ManagedAccount) -> str:
    """Say that another secret manages an account, to users who may not see which."""
    return f"Another secret manages the {other.get_kind_display().lower()} of {other.username} here."


def managers_of(instance: Instance, username: str, kind: str = "") -> QuerySet[ManagedAccount]:
    """Find who manages this account, on this instance or on another row that is the same machine."""
    same = Instance.objects.filter(pk=instance.pk)
    approved = HostKey.objects.trusted(instance)
    if instance.machine_id:
        # The same host key alone may be a cloned image; with the same machine-id it is the same machine.
        same = same | Instance.objects.filter(
            machine_id=instance.machine_id, host_keys__fingerprint__in=approved.values("fingerprint")
        )
    managers = ManagedAccount.objects.filter(
        instance__in=same.values("pk"), username=username, released_at=None
    ).select_related("secret__region", "secret__account", "instance__region", "instance__account")
    return managers.filter(kind=kind) if kind else managers


def _manage(secret: Secret, instance: Instance, username: str, *, has_value: bool) -> ManagedAccount:
    try:
        with transaction.atomic():
            account = ManagedAccount.objects.create(
                secret=secret,
                instance=instance,
                username=username,
                kind=secret.kind,
                credential=Credential.NOT_VERIFIED if has_value else Credential.NO_VALUE,
            )
            binding.bind(account)
            return account
    except IntegrityError:
        raise AccountTaken(f"Another secret manages {username} on {instance.name} already.") from None
