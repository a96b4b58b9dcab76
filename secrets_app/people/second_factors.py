"""Second factors: their secrets are sealed, each code counts once, and each change is recorded.

allauth keeps the factors in a table of its own. This module is the only one that seals and opens what is
secret in them, and it binds each to its person: a row that was moved to another user opens nothing.
Adding and removing one is recorded in the transaction that does it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from secrets_app import actions, keyring, regions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, SealedValue, User
from secrets_app.people import users
from secrets_app.policy import decisions

FIELD = "second_factor"
#: The groups whose members `KEYTURN_REQUIRE_MFA` is about.
REQUIRED_OF = (users.ADMINISTRATORS,)
_PREFIX = "sealed:"
#: Factors for a sign-in; recovery codes only replace one of these.
KINDS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
_COUNTER = "last_counter"


class Own(DomainError):
    """You cannot reset your own second factor: remove it yourself, or ask another administrator."""

    code = "own_second_factor"


def seal(text: str, *, user_id: uuid.UUID) -> str:
    """Seal what is secret in a factor; return the name that stands in its row. Raises `keyring.Sealed`."""
    sealed = keyring.seal(text.encode(), owner_id=user_id, subject_id=user_id, field=FIELD)
    return f"{_PREFIX}{sealed.pk}"


def open_(name: str, *, user_id: uuid.UUID) -> str:
    """Open what `seal` sealed for this person. Raises `envelope.Tampered` or `keyring.Sealed`."""
    sealed = SealedValue.objects.get(pk=name.removeprefix(_PREFIX))
    return keyring.open_(sealed, owner_id=user_id, subject_id=user_id, field=FIELD).decode()


def has_one(user: User) -> bool:
    """Whether this person has a second factor."""
    return bool(Authenticator.objects.filter(user=user, type__in=KINDS).exists())


def is_advised(user: User) -> bool:
    """Whether this person should have a second factor and has none."""
    return user.groups.filter(name__in=REQUIRED_OF).exists() and not has_one(user)


def is_required(user: User) -> bool:
    """Whether this installation wants a second factor of this person before anything else."""
    return bool(settings.REQUIRE_MFA) and user.groups.filter(name__in=REQUIRED_OF).exists()


def is_needed(factor: Authenticator) -> bool:
    """Whether it is the last second factor of a user who must have one."""
    others = Authenticator.objects.filter(user=factor.user, type__in=KINDS).exclude(pk=factor.pk)
    return factor.type in KINDS and is_required(factor.user) and not others.exists()


@dataclass(frozen=True)
class Person:
    """A user as policies and the audit know one."""

    arn: str
    pk: uuid.UUID


def person(user: User) -> Person:
    """The name by which this person is asked about and recorded."""
    return Person(actions.arn(actions.Kind.USER, user.username, account=regions.account().number), user.pk)


def reset(user: User, *, actor: Principal, reason: str) -> None:
    """Remove every second factor and recovery code of another user.

    Raises `Own` or `decisions.NotAllowed`. Keyturn itself may, for administrators of its machine.
    """
    if actor == user.principal:
        raise Own(Own.__doc__)
    if actor.kind != Principal.Kind.SYSTEM:
        decisions.require(actor, Action.RESET_SECOND_FACTOR, person(user))
    with transaction.atomic():
        rows = list(Authenticator.objects.filter(user=user))
        for row in rows:
            row.removed_by = actor  # who it is recorded of
            row.delete()
        details = {"kinds": sorted(row.type for row in rows)}
        trail.record(Action.RESET_SECOND_FACTOR, person(user), actor=actor, reason=reason, details=details)


def counts_once(factor: Authenticator, counter: int) -> bool:
    """Note that the code of this period was used; False where it, or a later one, was used before.

    RFC 6238, 5.2: "The verifier MUST NOT accept the second attempt of the OTP".
    """
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().get(pk=factor.pk)
        if counter <= row.data.get(_COUNTER, -1):
            return False
        row.data[_COUNTER] = counter
        row.save(update_fields=["data"])
    return True


def _added(instance: Authenticator, created: bool, **_: Any) -> None:
    if created:
        _record("kms:AddSecondFactor", instance)


def _removed(instance: Authenticator, **_: Any) -> None:
    for name in instance.data.values():
        if isinstance(name, str) and name.startswith(_PREFIX):
            keyring.destroy(SealedValue.objects.get(pk=name.removeprefix(_PREFIX), owner_id=instance.user_id))
    _record("kms:RemoveSecondFactor", instance)


def _record(action: str, factor: Authenticator) -> None:
    actor = getattr(factor, "removed_by", factor.user.principal)
    trail.record(action, person(factor.user), actor=actor, details={"kind": factor.type})


post_save.connect(_added, sender=Authenticator, dispatch_uid="factors.added")
post_delete.connect(_removed, sender=Authenticator, dispatch_uid="factors.removed")
