"""The only writer of who is who at an identity provider: an issuer with its subject belongs to one person.

allauth keeps the rows, with the issuer as their provider. Nothing else identifies a user: a name or address
from a provider can be another user's tomorrow. Linking and unlinking are recorded in the transaction
that does it, and a user without another way to sign in keeps the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

from allauth.socialaccount.models import SocialAccount
from django.db import IntegrityError, transaction

from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import User
from secrets_app.people import second_factors


class Taken(DomainError):
    """This identity already belongs to a user. Sign in with it, or use another one."""

    code = "identity_taken"


class HasOne(DomainError):
    """You have an identity of this provider already. Unlink it first, then link the other one."""

    code = "identity_linked_already"


class OnlyWay(DomainError):
    """This is your only way to sign in, so it stays."""

    code = "only_way_to_sign_in"


@dataclass(frozen=True)
class Identity:
    """A user of a provider; `name` is for display only."""

    issuer: str
    subject: str
    name: str = ""


def of(user: User, issuer: str) -> Identity | None:
    """This person's identity at this provider."""
    row = SocialAccount.objects.filter(user=user, provider=issuer).first()
    return Identity(issuer, row.uid, str(row.extra_data.get("name", ""))) if row else None


def link(user: User, identity: Identity) -> None:
    """Have this person sign in with this identity. Raises `Taken` or `HasOne`."""
    try:
        with transaction.atomic():
            _locked(user)
            if of(user, identity.issuer):
                raise HasOne(HasOne.__doc__)
            SocialAccount.objects.create(
                user=user,
                provider=identity.issuer,
                uid=identity.subject,
                extra_data={"name": identity.name},
            )
            _record("kms:LinkIdentity", user, identity)
    except IntegrityError:
        raise Taken(Taken.__doc__) from None


def replace(user: User, identity: Identity | None) -> None:
    """Have this person sign in with this identity and no other one, or with none. Raises `Taken`.

    The caller gives them another way in where there is to be none.
    """
    with transaction.atomic():
        _locked(user)
        for row in SocialAccount.objects.filter(user=user):
            if identity is None or (row.provider, row.uid) != (identity.issuer, identity.subject):
                row.delete()
                _record("kms:UnlinkIdentity", user, Identity(row.provider, row.uid))
        if identity is not None and of(user, identity.issuer) is None:
            link(user, identity)


def unlink(user: User, issuer: str) -> bool:
    """Unlink an identity from its user; return False if there is none. Raises `OnlyWay`."""
    with transaction.atomic():
        if not _locked(user).has_usable_password():
            raise OnlyWay(OnlyWay.__doc__)
        identity = of(user, issuer)
        if identity is None:
            return False
        SocialAccount.objects.filter(user=user, provider=issuer).delete()
        _record("kms:UnlinkIdentity", user, identity)
    return True


def _locked(user: User) -> User:
    """The row of this user, locked until the transaction ends."""
    return User.objects.select_for_update().get(pk=user.pk)


def _record(event: str, user: User, identity: Identity) -> None:
    details = {"issuer": identity.issuer, "subject": identity.subject}
    trail.record(event, second_factors.person(user), actor=user.principal, details=details)
