"""The only writer of invitations: a link that is valid once and for three days makes one person.

Or it lets one in again who is here and lost password or identity; until it is used nothing changes for them.
Only a keyed hash of a link is stored, and a seal over what it gives to whom: no link can be made by writing
to the database, and an invitation that was changed there is void. What the inviter might do when they
invited, they must still be allowed to do when the invited user accepts: an invitation by a user who lost
their rights is void.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import Group
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from secrets_app import keyed, regions, seals
from secrets_app.actions import Action, Kind, arn
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Invitation, Principal, User
from secrets_app.people import identities, second_factors, users
from secrets_app.people.identities import Identity
from secrets_app.policy import decisions, policies

VALID_FOR = timedelta(hours=72)


class NameTaken(DomainError):
    """A user or a machine with this name exists, or is invited already. Choose another name."""

    code = "user_name_taken"


class Void(DomainError):
    """This link is no longer valid: it was used or revoked, or its three days are over. Ask for a new one."""

    code = "link_void"


def invite(
    username: str, *, actor: Principal, groups: Iterable[str] = (), display_name: str = ""
) -> tuple[Invitation, Plaintext]:
    """Invite a user; return what their link ends with, this once.

    Raises `decisions.NotAllowed` or `NameTaken`. Only users with full access give groups.
    """
    wanted = sorted(groups)
    _require(actor, wanted)
    if users.is_name_taken(username) or is_invited(username):
        raise NameTaken(NameTaken.__doc__)
    token = Plaintext(secrets.token_urlsafe(32))
    with transaction.atomic():
        invitation = Invitation(username=username, display_name=display_name, groups=wanted)
        _renew(invitation, token, actor)
        _record("kms:InviteUser", invitation, actor, {"groups": wanted})
    return invitation, token


class Own(DomainError):
    """Change your own sign-in in your user menu, or ask another administrator to reset it."""

    code = "own_sign_in_reset"


class Disabled(DomainError):
    """This user is disabled. Enable the user first."""

    code = "user_disabled"


def invite_back(user: User, *, actor: Principal, reason: str) -> tuple[Invitation, Plaintext]:
    """Let an existing user choose a new way to sign in; return the end of their link, only now.

    What they have works until they use it, and ends then; a second factor stays. An earlier link is void.
    Raises `decisions.NotAllowed`, `Own` or `Disabled`. Its creator could sign in as that user, so it
    takes full access.
    """
    _require(actor, [], user)
    if actor == user.principal:
        raise Own(Own.__doc__)
    if not user.is_active:
        raise Disabled(Disabled.__doc__)
    token = Plaintext(secrets.token_urlsafe(32))
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # of two at once the later link is the valid one
        _open().filter(user=user).update(revoked_at=timezone.now())
        invitation = Invitation(user=user, username=user.username, display_name=user.display_name)
        _renew(invitation, token, actor)
        trail.record(Action.RESET_SIGN_IN, second_factors.person(user), actor=actor, reason=reason)
    return invitation, token


def open_ones() -> models.QuerySet[Invitation]:
    """Those that can still be used, the newest first."""
    return _open().select_related("invited_by").order_by("-created_at")


def renew(invitation: Invitation, *, actor: Principal) -> Plaintext:
    """Give an invitation a new link, and three days again; the old link is void.

    Raises `decisions.NotAllowed` or `Void`.
    """
    _require(actor, invitation.groups, invitation.user)
    token = Plaintext(secrets.token_urlsafe(32))
    with transaction.atomic():
        locked = _open().select_for_update().filter(pk=invitation.pk).first()
        if locked is None or not seals.holds(locked):
            raise Void(Void.__doc__)
        _renew(locked, token, actor)
        _record("kms:RenewInvitation", invitation, actor, {})
    return token


def revoke(invitation: Invitation, *, actor: Principal) -> None:
    """Have a link be void. Raises `decisions.NotAllowed` or `Void`."""
    decisions.require(actor, Action.CREATE_USER)
    with transaction.atomic():
        if not _open().filter(pk=invitation.pk).update(revoked_at=timezone.now()):
            raise Void(Void.__doc__)
        _record("kms:RevokeInvitation", invitation, actor, {})


def is_invited(username: str) -> bool:
    """Whether a user of this name could still come."""
    return _open().filter(username__iexact=username).exists()


def find(token: str) -> Invitation:
    """The invitation that this link belongs to. Raises `Void`."""
    invitation = _open().filter(token_hash=_hash(Plaintext(token))).first()
    if invitation is None or not seals.holds(invitation):
        raise Void(Void.__doc__)
    return invitation


def accept(
    invitation: Invitation, token_hash: str, password: Plaintext | None, *, identity: Identity | None = None
) -> User:
    """Make the person, or let them in again, once: with a password or with an identity of a provider.

    `token_hash` is of the link that was opened. Raises `Void`, `NameTaken` or `identities.Taken`.
    """
    if (password is None) == (identity is None):
        raise ValueError("An invitation is accepted with a password or with an identity.")
    try:
        with transaction.atomic():
            rows = _open().filter(pk=invitation.pk, token_hash=token_hash)
            stored = rows.first()
            if stored is None or not seals.holds(stored) or not rows.update(used_at=timezone.now()):
                raise Void(Void.__doc__)
            invitation = stored  # as it is sealed, and not as it was when the page was opened
            inviter = invitation.invited_by
            _require(inviter, invitation.groups, invitation.user)
            user = _back(invitation.user, password) if invitation.user else _join(invitation, password)
            identities.replace(user, identity)
            details = {"again": invitation.user is not None}
            trail.record(
                "kms:AcceptInvitation", second_factors.person(user), actor=user.principal, details=details
            )
    except decisions.NotAllowed:
        raise Void(Void.__doc__) from None
    except IntegrityError:
        raise NameTaken(NameTaken.__doc__) from None
    return user


def _join(invitation: Invitation, password: Plaintext | None) -> User:
    built_in = [name for name in invitation.groups if name in users.GROUPS]
    user = users.create(
        invitation.username,
        password,
        groups=built_in,
        actor=invitation.invited_by,
        must_change_password=False,
        display_name=invitation.display_name,
    )
    user.groups.add(*Group.objects.filter(name__in=invitation.groups))
    return user


def _back(user: User, password: Plaintext | None) -> User:
    user = User.objects.select_for_update().get(pk=user.pk)
    if not user.is_active:
        raise Void(Void.__doc__)
    users.come_back(user, password)
    return user


def _require(actor: Principal, groups: Iterable[str], user: User | None = None) -> None:
    if user is not None:
        decisions.require(actor, Action.RESET_SIGN_IN, second_factors.person(user))
        policies.require_full_access(actor, Action.RESET_SIGN_IN, second_factors.person(user))
        return
    decisions.require(actor, Action.CREATE_USER)
    if list(groups):
        policies.require_full_access(actor, Action.CREATE_USER)


def _open() -> models.QuerySet[Invitation]:
    return Invitation.objects.filter(used_at=None, revoked_at=None, expires_at__gt=timezone.now())


def _hash(token: Plaintext) -> str:
    return keyed.digest("invitation link", token.reveal())


def _renew(invitation: Invitation, token: Plaintext, actor: Principal) -> None:
    """Save it with this link, three days and whose word it stands on; sealed."""
    invitation.token_hash, invitation.invited_by = _hash(token), actor
    invitation.expires_at = timezone.now() + VALID_FOR
    invitation.save()


def _record(action: str, invitation: Invitation, actor: Principal, details: dict[str, object]) -> None:
    name = arn(Kind.USER, invitation.username, account=regions.account().number)
    trail.record(action, name, actor=actor, resource_id=invitation.pk, details=details)
