"""The only writer of keys and their versions: new versions, the kill switch, destruction.

One version of an enabled key is primary and seals; the others only open. Disabling a key stops every
process at its next value, since a version's state is read with the row. Material is destroyed only days
after it was planned, and only while no value is sealed under it: that is counted when it is planned, and
again when it is done.
"""

from __future__ import annotations

import logging
import re
import uuid
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from secrets_app import keyring, regions
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Key, KeyVersion, Principal, SealedValue, Secret, SecretVersion
from secrets_app.people import users
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

log = logging.getLogger(__name__)

ALIAS_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9/_.-]{0,79}\Z"
ROTATED_EVERY = timedelta(days=365)
WINDOW_DAYS = (7, 30)
State = KeyVersion.State


class BadAlias(DomainError, ValueError):
    """An alias has 1 to 80 letters, digits and / _ . - characters and begins with a letter or a digit."""

    code = "key_alias_invalid"


class AliasTaken(DomainError):
    """A key with this alias exists. Choose another alias."""

    code = "key_alias_taken"


class BadWindow(DomainError, ValueError):
    """A destruction is planned 7 to 30 days ahead."""

    code = "key_window_invalid"


class WrongState(DomainError):
    """This cannot be done with a key in this state; the message says why and what can be."""

    code = "key_state_wrong"


class InUse(DomainError):
    """Values are sealed under this key, or secrets name it; the message counts them and says what to do."""

    code = "key_in_use"


def create(alias: str, *, description: str = "", actor: Principal) -> Key:
    """Make a key with a first version. Raises `BadAlias`, `AliasTaken`, `keyring.Sealed`, `NotAllowed`."""
    decisions.require(actor, Action.CREATE_KEY)
    if not re.match(ALIAS_PATTERN, alias):
        raise BadAlias(BadAlias.__doc__)
    try:
        with transaction.atomic():
            key = Key.objects.create(
                account=regions.account(), alias=alias, description=description[:500], created_by=actor
            )
            _add_primary(key)
            trail.record(Action.CREATE_KEY, key, actor=actor)
    except IntegrityError:
        raise AliasTaken(AliasTaken.__doc__) from None
    return key


def new_version(key: Key, *, actor: Principal) -> KeyVersion:
    """Seal new values under fresh material from now on; what is sealed already stays readable.

    Raises `WrongState` for a key that is not enabled, `keyring.Sealed` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.UPDATE_KEY, key)
    with transaction.atomic():
        _locked(key, "enabled", "Enable it first.")
        return _renew(key, actor)


def rotate_due() -> int:
    """Give every enabled key whose primary version is a year old a new one; return how many got one."""
    old = KeyVersion.objects.filter(state=State.PRIMARY, created_at__lte=timezone.now() - ROTATED_EVERY)
    renewed = 0
    for version in list(old.select_related("key")):
        with transaction.atomic():
            Key.objects.select_for_update().get(pk=version.key_id)
            if old.filter(pk=version.pk).exists():  # still: two of these may run at once
                _renew(version.key, users.system())
                renewed += 1
    return renewed


def _renew(key: Key, actor: Principal) -> KeyVersion:
    key.versions.filter(state=State.PRIMARY).update(state=State.ENABLED)
    version = _add_primary(key)
    trail.record(Action.UPDATE_KEY, key, actor=actor, details={"version": version.number})
    return version


def _add_primary(key: Key) -> KeyVersion:
    pk = uuid.uuid4()
    last = key.versions.order_by("-number").values_list("number", flat=True).first() or 0
    wrapped = keyring.new_material(key, pk)
    return KeyVersion.objects.create(id=pk, key=key, number=last + 1, state=State.PRIMARY, wrapped=wrapped)


# ---------------------------------------------------------------- the kill switch


def disable(key: Key, *, actor: Principal) -> None:
    """Make everything that this key sealed unreadable, for every process and from its next value on.

    Raises `WrongState` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.DISABLE_KEY, key)
    with transaction.atomic():
        _locked(key, "enabled", "There is nothing to disable.")
        key.versions.filter(state__in=keyring.OPENS).update(state=State.DISABLED)
        trail.record(Action.DISABLE_KEY, key, actor=actor, details={"values": values_under(key).count()})


def enable(key: Key, *, actor: Principal) -> None:
    """Undo `disable`: the newest version is primary again. Raises `WrongState` or `decisions.NotAllowed`."""
    decisions.require(actor, Action.ENABLE_KEY, key)
    with transaction.atomic():
        _locked(key, "disabled", "Only a disabled key can be enabled.")
        newest = key.versions.filter(state=State.DISABLED).order_by("-number").first()
        key.versions.filter(state=State.DISABLED).update(state=State.ENABLED)
        if newest is not None:
            KeyVersion.objects.filter(pk=newest.pk).update(state=State.PRIMARY)
        trail.record(Action.ENABLE_KEY, key, actor=actor)


# ---------------------------------------------------------------- destruction


def plan_destruction(key: Key, *, days: int, actor: Principal, version: KeyVersion | None = None) -> None:
    """Have a key, or an older version of it, destroyed in `days` days; until then it opens nothing.

    Raises `BadWindow`, `InUse`, `WrongState` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.SCHEDULE_KEY_DELETION, key)
    if not WINDOW_DAYS[0] <= days <= WINDOW_DAYS[1]:
        raise BadWindow(BadWindow.__doc__)
    with transaction.atomic():
        rows = _to_destroy(key, version)
        refuse_in_use(key, version)
        due_at = timezone.now() + timedelta(days=days)
        rows.update(state=State.SCHEDULED, destruction_due_at=due_at)
        details = {"due": due_at.isoformat(), **_numbered(version)}
        trail.record(Action.SCHEDULE_KEY_DELETION, key, actor=actor, details=details)


def cancel_destruction(key: Key, *, actor: Principal, version: KeyVersion | None = None) -> None:
    """Keep what was to be destroyed: a key is disabled then, an older version of it opens again.

    A key is not enabled by this: that is another right. Raises `WrongState` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.CANCEL_KEY_DELETION, key)
    with transaction.atomic():
        _locked(key, "enabled" if version else "scheduled", "There is no destruction to cancel.")
        rows = _only(key, version).filter(state=State.SCHEDULED)
        kept = State.ENABLED if version else State.DISABLED
        if not rows.update(state=kept, destruction_due_at=None):
            raise WrongState("This version is not scheduled for destruction.")
        trail.record(Action.CANCEL_KEY_DELETION, key, actor=actor, details=_numbered(version))


def destroy_due() -> int:
    """Destroy the material whose day has come and under which no value is sealed; return how many versions.

    The rows stay, for the history.
    """
    due = KeyVersion.objects.filter(state=State.SCHEDULED, destruction_due_at__lte=timezone.now())
    return sum(_destroy(version) for version in due.select_related("key"))


def _destroy(version: KeyVersion) -> bool:
    with transaction.atomic():
        Key.objects.select_for_update().get(pk=version.key_id)
        if SealedValue.objects.filter(key_version=version).exists():
            log.error("Key version %s is not destroyed: values are sealed under it.", version.pk)
            return False
        gone = KeyVersion.objects.filter(
            pk=version.pk, state=State.SCHEDULED, destruction_due_at__lte=timezone.now()
        ).update(state=State.DESTROYED, wrapped=None, destruction_due_at=None, destroyed_at=Now())
        if not gone:  # cancelled meanwhile
            return False
        trail.record("kms:DestroyKeyVersion", version.key, actor=users.system(), details=_numbered(version))
    return True


def refuse_in_use(key: Key, version: KeyVersion | None = None) -> None:
    """Return if nothing would be lost with this key, or with this version of it. Raises `InUse`."""
    if key.alias == keyring.DEFAULT_ALIAS and version is None:
        raise InUse(f"{key.alias} is the default key: it seals whatever no other key was chosen for.")
    values = values_under(key, version).count()
    secrets = 0 if version else secrets_of(key).count()
    if values or secrets:
        counted = [f"{_count(values, 'value')} sealed under it"] if values else []
        counted += (
            [f"{_count(secrets, 'secret')} that use{'s' if secrets == 1 else ''} it"] if secrets else []
        )
        raise InUse(
            f"Still in use: {' and '.join(counted)}. "
            f"Choose Rewrap first{'' if version else ', to another key'}; then plan the destruction."
        )


def values_under(key: Key, version: KeyVersion | None = None) -> QuerySet[SealedValue]:
    """The values that need this key, or this version of it, to be opened."""
    if version is not None:
        return SealedValue.objects.filter(key_version=version)
    return SealedValue.objects.filter(key_version__key=key)


def secrets_of(key: Key) -> QuerySet[Secret]:
    """The secrets whose next value this key seals, or that have a value under it."""
    under = SecretVersion.objects.filter(secret=OuterRef("pk"), sealed__key_version__key=key)
    return Secret.objects.kept().filter(Q(key=key) | Exists(under))


def enabled() -> QuerySet[Key]:
    """The keys that seal new values now."""
    return Key.objects.filter(versions__state=State.PRIMARY).select_related("account")


def _to_destroy(key: Key, version: KeyVersion | None) -> QuerySet[KeyVersion]:
    if version is None:
        now = Key.objects.select_for_update().get(pk=key.pk).state
        if now not in {"enabled", "disabled"}:
            raise WrongState(f"{key.alias} is {now} already.")
        return _only(key, None).exclude(state=State.DESTROYED)
    _locked(key, "enabled", "Enable it first.")
    rows = _only(key, version).filter(state=State.ENABLED)
    if not rows.exists():
        raise WrongState("Only an older version that is enabled can be destroyed on its own.")
    return rows


def _only(key: Key, version: KeyVersion | None) -> QuerySet[KeyVersion]:
    return key.versions.filter(pk=version.pk) if version else key.versions.order_by()


def _locked(key: Key, wanted: str, advice: str) -> None:
    """Hold the key until the transaction ends. Raises `WrongState` where it is not as `wanted`."""
    now = Key.objects.select_for_update().get(pk=key.pk).state
    if now != wanted:
        raise WrongState(
            f"{key.alias} is {'scheduled for destruction' if now == 'scheduled' else now}. {advice}"
        )


def _numbered(version: KeyVersion | None) -> dict[str, int]:
    return {"version": version.number} if version else {}


def _count(amount: int, unit: str) -> str:
    return f"{amount:,} {unit}{'' if amount == 1 else 's'}"
