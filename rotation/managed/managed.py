"""With `binding`, the only writer of managed accounts, and the one entry where both domains move together.

A secret, its first value, the account it manages, its schedule and its first run are made in one
transaction, or not at all.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from rotation import accounts, binding, reasons, runs, schedules, wires
from rotation.connectors import base
from rotation.inventory import inventory
from rotation.models import (
    HostKey,
    Instance,
    ManagedAccount,
    ManagementCredential,
    Run,
    Schedule,
)
from secrets_app import keyring
from secrets_app.audit import trail
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import ECS_PREFIX, Key, Label, Principal, Region, Secret
from secrets_app.people import users
from secrets_app.policy import decisions, grants
from secrets_app.secrets import lifecycle, versions

Credential = ManagedAccount.Credential
#: Codes of a credential: nobody has asked the host since an older database was put back; and it refused.
RESTORED, DATABASE_OLDER = "restored", "database_older"


class RegionMismatch(DomainError):
    """A secret manages only instances of its own region."""

    code = "region_mismatch"


class AccountTaken(DomainError):
    """Another secret manages this account on this instance; the message names it to who may see it."""

    code = "account_taken"


class NoKeys(DomainError):
    """A key pair can be managed on Linux only. Choose Password for a Windows instance."""

    code = "key_pairs_unsupported"


class SharedAccount(DomainError):
    """Keyturn works on this instance as this account, by a shared credential; the message says which."""

    code = "account_shared"


class IsLogin(DomainError):
    """An instance logs in with this secret; the message says what to do first."""

    code = "secret_is_login"


class BadUsername(DomainError, ValueError):
    """An OS user has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."""

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
    *not yet verified*; the host is asked afterwards, by the run that is returned, so an instance that
    cannot be reached now does not prevent creation. With `as_own_login`, Keyturn works on the instance as
    this account from now on, with this secret's value instead of the shared credential's, so an initial
    value is needed. Raises `RegionMismatch`, `AccountTaken`, `SharedAccount`, `BadUsername`,
    `NoKeys`, `inventory.NoOwnLogin`, `rhythm.Unfit`, `decisions.NotAllowed` and what `versions.given`
    and `lifecycle.create` raise; nothing is made then. A key pair is of `key_algorithm`, one of
    `keypairs.ALGORITHMS`; empty stands for the setting's. `key` seals its values; none stands for the
    default key.
    """
    require_creation(region, full_name(name), tags or {}, actor=actor)
    if key is not None and key != keyring.default_key():
        decisions.require(actor, decisions.Action.DESCRIBE_KEY, key)
    check_account(region, instance, username, kind, actor=actor)
    if not as_own_login:
        refuse_shared(instance, username, actor=actor)
    elif initial is None:
        raise inventory.NoOwnLogin("Enter the account's present value: Keyturn logs in with it from now on.")
    is_key_pair = kind == Secret.Kind.KEY_PAIR
    key_algorithm = (key_algorithm or settings.KEY_ALGORITHM) if is_key_pair else ""
    with transaction.atomic(), trail.at_the_end():
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
            version = versions.enter(secret, versions.given(secret, username, initial), actor=actor)
        trail.record(
            decisions.Action.CREATE_SECRET,
            secret,
            actor=actor,
            version_id=version.version_id if version else "",
            value_mark=version.value_mark if version else "",
            details={"instance": instance.instance_id, "username": username, "key": secret.key.alias},
        )
        if as_own_login:
            inventory.log_in_with(instance, secret, sudo=_sudo_of(instance), actor=actor)
        if rotate_now:
            run = runs.start(secret, actor=actor, trigger=Run.Trigger.CREATION)
        elif initial is not None:
            run = runs.verify(secret, actor=actor, trigger=Run.Trigger.CREATION)
    return secret, run


def _sudo_of(instance: Instance) -> str:
    credential = instance.credential
    return credential.sudo if credential else ManagementCredential.Sudo.PASSWORDLESS


def require_creation(region: Region, name: str, tags: Mapping[str, str], *, actor: Principal) -> None:
    """Return if `actor` may make a secret of this full name. Raises `decisions.NotAllowed`."""
    made = decisions.new_secret(region, name, tags)
    decisions.require(actor, decisions.Action.CREATE_SECRET, made)
    if tags:
        decisions.require(actor, decisions.Action.TAG_RESOURCE, made)


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
    if instance.region_id != region.pk:
        raise RegionMismatch(
            f"{instance.name} is in {instance.region.name}. Choose an instance of {region.name}, "
            f"or create the secret in {instance.region.name}."
        )
    if not _takes(instance, kind):
        raise NoKeys(NoKeys.__doc__)
    if not wires.is_username(instance.wire, username):
        raise BadUsername(BadUsername.__doc__)
    accounts.require(instance, username, actor=actor)
    for other in _managers_of(instance, username):
        # Beside a password that one may not even see, a key pair would be a way around it.
        if other.kind == kind or not _may_be_told(actor, other, instance):
            raise AccountTaken(_taken(other, instance, "already", actor))


def _takes(instance: Instance, kind: str) -> bool:
    """Whether a credential of this kind can be changed there."""
    if kind != Secret.Kind.KEY_PAIR:
        return True
    return base.Kind.KEY in wires.of(instance.wire).kinds and instance.os != Instance.OS.WINDOWS


def _taken(other: ManagedAccount, asked: Instance, when: str, actor: Principal) -> str:
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
    found = _managers_of(instance, username)
    return found.exclude(pk=but.pk) if but else found


def told(other: ManagedAccount) -> str:
    """Say that another secret manages an account, to users who may not see which."""
    what = "password" if other.kind == Secret.Kind.PASSWORD else "key pair"
    return f"Another secret manages the {what} of {other.username} here."


def _managers_of(instance: Instance, username: str, kind: str = "") -> QuerySet[ManagedAccount]:
    """Find who manages this account, on this instance or on another row that is the same machine."""
    same = Instance.objects.filter(pk=instance.pk)
    approved = HostKey.objects.trusted(instance)
    fingerprints = list(approved.values_list("fingerprint", flat=True))
    if instance.machine_id and fingerprints:
        # The same host key alone may be a cloned image; with the same machine-id it is the same machine.
        same = same | Instance.objects.filter(
            machine_id=instance.machine_id, host_keys__fingerprint__in=fingerprints
        )
    found = ManagedAccount.objects.filter(
        instance__in=same.values("pk"), username=username, released_at=None
    ).select_related("secret__region", "secret__account", "instance__region", "instance__account")
    return found.filter(kind=kind) if kind else found


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


# ---------------------------------------------------------------- deletion


@dataclass(frozen=True)
class Restored:
    """What a restored secret does next."""

    next_at: datetime | None  # its next rotation by schedule
    was_due: bool  # a date passed while deletion was planned; it was left out
    run: Run | None  # asks the host whether the value is still good; None where there is no value


def plan_deletion(secret: Secret, *, actor: Principal, days: int = 30, reason: str = "") -> None:
    """Have the secret purged `days` from now; until then it only can be looked at and restored.

    Nothing on the instance changes. Work that no host has heard of is cancelled. Raises `runs.TooLate`,
    `lifecycle.BadWindow`, `lifecycle.NotEnabled` or `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, decisions.Action.DELETE_SECRET, secret)
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, actor)
        lifecycle.plan_deletion(secret, days=days, reason=reason, actor=actor)
        details = {"days": days}
        trail.record(decisions.Action.DELETE_SECRET, secret, actor=actor, reason=reason, details=details)


def purge(secret: Secret, *, actor: Principal, reason: str = "") -> None:
    """Delete the secret immediately: its values and their data keys are destroyed, its history stays.

    Raises as `plan_deletion`.
    """
    decisions.require(actor, decisions.Action.DELETE_SECRET, secret)
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, actor)
        lifecycle.mark_purged(secret, actor=actor, reason=reason)
        destroyed = _let_go(secret)
        details = {"immediately": True, "versions": destroyed}
        trail.record(decisions.Action.DELETE_SECRET, secret, actor=actor, reason=reason, details=details)


def purge_if_due(secret: Secret) -> None:
    """Purge a secret whose time to be restored is over. Raises `runs.TooLate` or `lifecycle.NotEnabled`."""
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, users.system())
        lifecycle.mark_purged(secret, actor=users.system(), only_if_due=True)
        destroyed = _let_go(secret)
        trail.record("kms:PurgeSecret", secret, actor=users.system(), details={"versions": destroyed})


def restore(secret: Secret, *, actor: Principal) -> Restored:
    """Undo a planned deletion: schedule, labels and tags are as they were, and the host is asked.

    Never rotates: a date that passed meanwhile moves to the next one. Raises `AccountTaken`,
    `lifecycle.NotPending`, `lifecycle.NotEnabled` (purged) or `decisions.NotAllowed`.
    """
    decisions.require(actor, decisions.Action.RESTORE_SECRET, secret)
    with transaction.atomic():
        lifecycle.held(secret.pk)
        account = ManagedAccount.objects.select_related("instance").get(secret=secret)
        rivals = _managers_of(account.instance, account.username, account.kind).exclude(pk=account.pk)
        other = rivals.filter(secret__deletion_planned_at__isnull=True).first()
        if other:
            raise AccountTaken(_taken(other, account.instance, "now", actor))
        lifecycle.restore(secret)
        before = Schedule.objects.filter(secret=secret).values_list("next_at", flat=True).first()
        next_at = schedules.catch_up(secret)
        run = None
        if secret.labelled(Label.Role.CURRENT):
            if account.credential == Credential.IN_SYNC:
                note(account, Credential.NOT_VERIFIED, "Restored just now; the host is being asked.")
            run = runs.verify(secret, actor=actor, trigger=Run.Trigger.RESTORE)
        trail.record(decisions.Action.RESTORE_SECRET, secret, actor=actor)
    return Restored(next_at, bool(next_at and next_at != before), run)


def _stop_work(secret: Secret, actor: Principal) -> None:
    lifecycle.held(secret.pk)
    instance = Instance.objects.select_related("region", "account").filter(own_login=secret).first()
    if instance is not None:
        is_known = decisions.allows(actor, decisions.Action.DESCRIBE_INSTANCE, instance)
        raise IsLogin(
            f"{instance.name if is_known else 'An instance'} logs in with this secret. Attach a management "
            "credential to it first, then delete."
        )
    runs.stop_all(secret, actor=actor, sentence=f"{actor.name} had the secret deleted.")


def _let_go(secret: Secret) -> int:
    """Destroy what the secret kept and free its account for another one. Returns how many values."""
    schedules.close(secret)
    grants.end_all(secret)
    ManagedAccount.objects.filter(secret=secret).update(released_at=Now())
    return versions.destroy_all(secret)


# ---------------------------------------------------------------- what a person decides


class Decision(enum.StrEnum):
    """How things stand, where no host can be asked or believed any more: what a person says of it."""

    GONE = "gone"  # the server is gone for good
    SET_ASIDE = "set_aside"  # the pending value is not on the host


def resolve(secret: Secret, *, actor: Principal, decision: str, reason: str) -> None:
    """End a rotation whose result nobody can ask for, as a person says it stands.

    No value is destroyed: the pending version loses its label and is kept. `GONE` stops the schedule too;
    after `SET_ASIDE` the host is asked whether it accepts the current value. The secret can be deleted
    afterwards. Raises `runs.NoReason`, `runs.InProgress` while a worker talks to the host,
    `runs.NotRotatable` where there is nothing to set aside, `lifecycle.NotEnabled` or
    `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, decisions.Action.RESOLVE_ROTATION, secret)
    decided = Decision(decision)
    if not reason.strip():
        raise runs.NoReason(runs.NoReason.__doc__)
    with transaction.atomic(), trail.at_the_end():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        pending = secret.labelled(Label.Role.PENDING)
        if decided == Decision.SET_ASIDE and pending is None:
            raise runs.NotRotatable("There is no pending value to set aside.")
        sentence = reasons.sentence(decided.value, actor.name)
        runs.give_up(secret, actor=actor, code=decided.value, sentence=sentence)
        if pending is not None:
            versions.set_aside(pending)
        details = {"decision": decided.value, "version": pending.version_id if pending else ""}
        trail.record(
            decisions.Action.RESOLVE_ROTATION,
            secret,
            actor=actor,
            reason=reason.strip()[:500],
            details=details,
        )
        if decided == Decision.GONE:
            schedules.close(secret)
            note(secret.managed, Credential.GONE, sentence, decided.value)
        elif secret.labelled(Label.Role.CURRENT):
            note(secret.managed, Credential.NOT_VERIFIED, sentence)
            runs.verify(secret, actor=actor)
        else:
            note(secret.managed, Credential.NO_VALUE, sentence)


def change_options(
    secret: Secret, *, actor: Principal, ends_sessions: bool, proves_old_refused: bool, reconciles: bool
) -> None:
    """Save what a rotation does beside the change itself, and what happens when the host drifts.

    Raises `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    decisions.require(actor, decisions.Action.UPDATE_ROTATION, secret)
    options = {
        "ends_sessions": ends_sessions,
        "proves_old_refused": proves_old_refused,
        "reconciles": reconciles,
    }
    with transaction.atomic():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        ManagedAccount.objects.filter(secret=secret).update(**options)
        trail.record(decisions.Action.UPDATE_ROTATION, secret, actor=actor, details=options)


# ---------------------------------------------------------------- what is known of the credential


def note(account: ManagedAccount, credential: str, sentence: str = "", code: str = "") -> None:
    """Write what is now known of the account's credential, and why."""
    ManagedAccount.objects.filter(pk=account.pk).update(
        credential=credential, credential_sentence=sentence[:500], credential_code=code
    )
    binding.follow_one(account)


def note_verified(
    account: ManagedAccount, level: base.Level | None, *, rotated: bool = False, changed: bool = False
) -> None:
    """Write that the host accepted the current value just now, and how that was shown.

    `rotated` says that it is a new one, `changed` that it was set on the host again. What was shown on the
    machine that the account was bound to when the run began says nothing once it is bound to another one.
    """
    fields: dict[str, object] = {"rotated_at": Now()} if rotated else {}
    if rotated or changed:
        fields["traces"] = {}  # what the account looked like before says nothing any more
    same = ManagedAccount.objects.filter(pk=account.pk, bindings=account.bindings)
    is_same = same.update(
        credential=Credential.IN_SYNC,
        credential_code="",
        credential_sentence="",
        verified_at=Now(),
        verified_level=level or "",
        **fields,
    )
    if is_same:
        binding.note_machine_id(account)
    binding.follow_one(account)


def note_traces(account: ManagedAccount, traces: dict[str, object]) -> None:
    """Write what the account looks like while it is in sync, to compare with another day."""
    same = ManagedAccount.objects.filter(pk=account.pk, bindings=account.bindings)
    same.update(credential=Credential.IN_SYNC, credential_code="", credential_sentence="", traces=traces)
    binding.follow_one(account)


def doubt_all() -> None:
    """Take back what is known of every account: it was true when the database that was put back was copied.

    What is in doubt already, or known to be wrong, stays so.
    """
    known = [Credential.IN_SYNC, Credential.NOT_VERIFIED, Credential.UNREACHABLE, Credential.BLOCKED]
    ManagedAccount.objects.filter(released_at__isnull=True, credential__in=known).update(
        credential=Credential.NOT_VERIFIED,
        credential_code=RESTORED,
        credential_sentence="An older database was put back. The instance was not asked since.",
        traces={},  # the same look as then proves nothing of now
    )


def verifiable() -> QuerySet[ManagedAccount]:
    """The accounts with a current value that a host can be asked about."""
    kept = ManagedAccount.objects.filter(released_at__isnull=True).exclude(
        credential__in=[Credential.GONE, Credential.NO_VALUE]
    )
    return kept.filter(
        Exists(Label.objects.filter(secret=OuterRef("secret"), role=Label.Role.CURRENT)),
        secret__deletion_planned_at__isnull=True,
        secret__purged_at__isnull=True,
    )


def due_for_drift_check(share: timedelta) -> list[ManagedAccount]:
    """Return accounts that were not looked at for a day, longest first: as many as belong into `share` of it.

    So the looks spread over the day by themselves, however many accounts there are.
    """
    kept = ManagedAccount.objects.filter(released_at__isnull=True)
    limit = math.ceil(kept.count() * share / settings.DRIFT_EVERY)
    can_drift = (
        kept.exclude(credential__in=[Credential.GONE, Credential.NO_VALUE])
        .filter(secret__deletion_planned_at__isnull=True, secret__purged_at__isnull=True)
        .filter(Exists(Label.objects.filter(secret=OuterRef("secret"), role=Label.Role.CURRENT)))
        .exclude(Exists(Run.objects.active().filter(secret=OuterRef("secret"))))
    )
    due = can_drift.filter(_was_not_looked_at())
    return list(due.select_related("secret").order_by(F("drift_checked_at").asc(nulls_first=True))[:limit])


def claim_drift_check(account: ManagedAccount) -> bool:
    """Note that the account is looked at now; True for the one caller that may start the run."""
    # By its age and not by the time that was read: SQLite keeps one of Now() with three digits after the
    # second, and compares it as a text with the six of a parameter.
    still = ManagedAccount.objects.filter(_was_not_looked_at(), pk=account.pk)
    return bool(still.update(drift_checked_at=Now()))


def _was_not_looked_at() -> Q:
    return Q(drift_checked_at__isnull=True) | Q(drift_checked_at__lte=Now() - settings.DRIFT_EVERY)


def raise_generation(account: ManagedAccount, on_host: int) -> int:
    """Return the next attempt's number, above ours and the host's, and keep it."""
    account.refresh_from_db(fields=["generation"])
    account.generation = max(account.generation, on_host) + 1
    ManagedAccount.objects.filter(pk=account.pk).update(generation=account.generation)
    return account.generation
