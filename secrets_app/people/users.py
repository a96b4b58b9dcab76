"""The only writer of users, their principals and groups.

Members of a group have its policies, so only users with *KMS full access* may change the members, or let
a user in again. Nothing here can leave the installation without an administrator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from secrets_app import names, regions
from secrets_app.actions import Action, Kind, arn
from secrets_app.audit import trail
from secrets_app.crypto.passwords import Policy
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Principal, User
from secrets_app.policy import decisions, policies

ADMINISTRATORS, HELPDESK, AUDITORS = "administrators", "helpdesk", "auditors"
GROUPS = (ADMINISTRATORS, HELPDESK, AUDITORS)
_POLICIES = {
    ADMINISTRATORS: policies.FULL_ACCESS,
    HELPDESK: policies.HELPDESK,
    AUDITORS: policies.AUDITOR,
}
FIRST_NAME = "admin"
GROUP_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class NameTaken(DomainError):
    """A group with this name exists. Choose another name."""

    code = "group_name_taken"


class BadName(DomainError, ValueError):
    """A name has 1 to 64 letters, digits and . _ @ - characters."""

    code = "group_name_invalid"


@dataclass(frozen=True)
class Named:
    """A user or a group as policies and events know it."""

    arn: str
    pk: UUID | None = None  # of a user; a group's id is a number, and its name never changes


def named(who: User | Group, *, account: str = "") -> Named:
    """What to ask `policies` about. `account` is the installation's number, where the caller has it."""
    number = account or regions.account().number
    if isinstance(who, User):
        return Named(arn(Kind.USER, who.username, account=number), who.pk)
    return Named(arn(Kind.GROUP, who.name, account=number))


def create(
    username: str,
    password: Plaintext | None,
    *,
    groups: Iterable[str] = (),
    actor: Principal | None = None,
    must_change_password: bool = True,
    display_name: str = "",
    time_zone: str = "UTC",
) -> User:
    """Create a user who can sign in, with its principal. Raises IntegrityError where the name is taken.

    Without a password they sign in with an identity that the caller links to them.
    """
    with transaction.atomic():
        user = User(
            username=username,
            display_name=display_name,
            time_zone=time_zone,
            must_change_password=must_change_password,
        )
        user.set_password(password.reveal() if password else None)
        user.save()
        principal = Principal.objects.create(kind=Principal.Kind.USER, name=username, user=user)
        principal.groups.set([_group(name) for name in groups])
        trail.record("kms:CreateUser", _arn(user), actor=actor or principal, resource_id=user.pk)
    return user


def is_name_taken(name: str) -> bool:
    """Whether a user or a machine has this name, in upper or lower case."""
    others = Principal.objects.exclude(kind=Principal.Kind.SYSTEM)
    return User.objects.filter(username__iexact=name).exists() or others.filter(name__iexact=name).exists()


def create_first_administrator() -> tuple[User, Plaintext] | None:
    """Make the first administrator with a password that is returned once; None if a user exists."""
    if User.objects.exists():
        return None
    regions.account()
    password = Policy(length=24, sets=("lower", "upper", "digits"), excluded="0O1lI").generate()
    return create(FIRST_NAME, password, groups=[ADMINISTRATORS]), password


def recover(user: User, *, reason: str) -> Plaintext:
    """Let this person in again with a password that is returned once; their sessions end by it.

    For administrators of Keyturn's machine, so no right is checked.
    """
    password = Policy(length=24, sets=("lower", "upper", "digits"), excluded="0O1lI").generate()
    with transaction.atomic():
        user.set_password(password.reveal())
        user.must_change_password = user.is_active = True
        user.save(update_fields=["password", "must_change_password", "is_active"])
        trail.record("kms:RecoverUser", _arn(user), actor=system(), resource_id=user.pk, reason=reason)
    return password


def come_back(user: User, password: Plaintext | None) -> None:
    """Have this person sign in with this password alone, or with none; their sessions end by it.

    The caller has a link that was handed out for this, and records that it was used.
    """
    user.set_password(password.reveal() if password else None)
    user.must_change_password = False
    user.save(update_fields=["password", "must_change_password"])


def password_changed(user: User) -> None:
    """Note that this person has chosen a password of their own."""
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(must_change_password=False)
        user.must_change_password = False
        trail.record("kms:ChangePassword", _arn(user), actor=user.principal, resource_id=user.pk)


def system() -> Principal:
    """Return the principal that schedules act as."""
    return Principal.objects.get_or_create(kind=Principal.Kind.SYSTEM, defaults={"name": "Keyturn"})[0]


# ---------------------------------------------------------------- who may sign in


def rename(user: User, display_name: str, *, actor: Principal) -> None:
    """Change what this person is called; never the name they sign in with. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.UPDATE_USER, named(user))
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(display_name=display_name)
        trail.record(Action.UPDATE_USER, named(user).arn, actor=actor, resource_id=user.pk)
    user.display_name = display_name


def readdress(user: User, email: str, *, actor: Principal) -> None:
    """Change where this person's mail goes; the same address is no change. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.UPDATE_USER, named(user))
    with transaction.atomic():
        if User.objects.filter(pk=user.pk).exclude(email=email).update(email=email):
            details = {"changed": ["e-mail"]}
            trail.record(
                Action.UPDATE_USER, named(user).arn, actor=actor, resource_id=user.pk, details=details
            )
    user.email = email


def disable(user: User, *, actor: Principal, reason: str = "") -> None:
    """Have every right of this person end, and their sessions with their next request.

    Raises `decisions.NotAllowed` or `policies.LastAdministrator`.
    """
    decisions.require(actor, Action.DISABLE_USER, named(user))
    with transaction.atomic():
        if User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
            policies.require_an_administrator()
            _record_state(user, actor, reason, is_active=False)
    user.is_active = False
    decisions.forget()


def enable(user: User, *, actor: Principal, reason: str = "") -> None:
    """Let this person in again, with the rights they have now. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.DISABLE_USER, named(user))
    policies.require_full_access(actor, Action.DISABLE_USER, named(user))
    with transaction.atomic():
        if User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
            _record_state(user, actor, reason, is_active=True)
    user.is_active = True
    decisions.forget()


def _record_state(user: User, actor: Principal, reason: str, *, is_active: bool) -> None:
    details = {"enabled": is_active}
    whom = named(user)
    trail.record(
        Action.DISABLE_USER, whom.arn, actor=actor, resource_id=whom.pk, reason=reason, details=details
    )


# ---------------------------------------------------------------- groups


def create_group(name: str, *, actor: Principal) -> Group:
    """Make a group without members or policies.

    Raises `decisions.NotAllowed`, `BadName` or `NameTaken`.
    """
    decisions.require(actor, Action.CREATE_GROUP)
    policies.require_full_access(actor, Action.CREATE_GROUP)
    if not GROUP_NAME.fullmatch(name):
        raise BadName(f"{names.stranger(name, 'A-Za-z0-9._@-')} {BadName.__doc__}".strip())
    # Those that come with the product are made when their first member is; they bring a policy.
    if name.lower() in GROUPS or Group.objects.filter(name__iexact=name).exists():
        raise NameTaken(NameTaken.__doc__)
    try:
        with transaction.atomic():
            group = Group.objects.create(name=name)
            trail.record(Action.CREATE_GROUP, named(group).arn, actor=actor)
    except IntegrityError:
        raise NameTaken(NameTaken.__doc__) from None
    return group


def join(group: Group, members: Iterable[Principal | User], *, actor: Principal) -> None:
    """Have these be members, with every policy of the group. Raises `decisions.NotAllowed`."""
    _require_group(group, actor)
    with transaction.atomic():
        given = [decisions.principal_of(member) for member in members]
        new = [member for member in given if not member.groups.filter(pk=group.pk).exists()]
        if new:
            group.members.add(*new)
            details = {"joined": sorted(member.name for member in new)}
            trail.record(Action.UPDATE_GROUP, named(group).arn, actor=actor, details=details)
    decisions.forget()


def leave(group: Group, member: Principal | User, *, actor: Principal) -> None:
    """End a membership. Raises `decisions.NotAllowed` or `policies.LastAdministrator`."""
    _require_group(group, actor)
    with transaction.atomic():
        leaver = decisions.principal_of(member)
        if leaver.groups.filter(pk=group.pk).exists():
            group.members.remove(leaver)
            policies.require_an_administrator()
            details = {"left": [leaver.name]}
            trail.record(Action.UPDATE_GROUP, named(group).arn, actor=actor, details=details)
    decisions.forget()


def _require_group(group: Group, actor: Principal) -> None:
    decisions.require(actor, Action.UPDATE_GROUP, named(group))
    policies.require_full_access(actor, Action.UPDATE_GROUP, named(group))


def _group(name: str) -> Group:
    if name not in GROUPS:
        raise ValueError(f"There is no group {name}.")
    group, is_new = Group.objects.get_or_create(name=name)
    if is_new:
        policies.give_group(group, _POLICIES[name])
    return group


def _arn(user: User) -> str:
    return named(user).arn
