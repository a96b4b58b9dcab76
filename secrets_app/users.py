"""The only writer of users, principals and groups."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group
from django.db import transaction

from secrets_app import audit, regions, rulebook
from secrets_app.models import Principal, User
from secrets_app.passwords import Policy
from secrets_app.plaintext import Plaintext

ADMINISTRATORS, HELPDESK, AUDITORS = "administrators", "helpdesk", "auditors"
GROUPS = (ADMINISTRATORS, HELPDESK, AUDITORS)
_POLICIES = {
    ADMINISTRATORS: rulebook.FULL_ACCESS,
    HELPDESK: rulebook.HELPDESK,
    AUDITORS: rulebook.AUDITOR,
}
FIRST_NAME = "admin"


def create(
    username: str,
    password: Plaintext,
    *,
    groups: Iterable[str] = (),
    actor: Principal | None = None,
    must_change_password: bool = True,
    display_name: str = "",
    time_zone: str = "UTC",
) -> User:
    """Make a person who can sign in, with its principal. Raises IntegrityError where the name is taken."""
    with transaction.atomic():
        user = User(
            username=username,
            display_name=display_name,
            time_zone=time_zone,
            must_change_password=must_change_password,
        )
        user.set_password(password.reveal())
        user.save()
        principal = Principal.objects.create(kind=Principal.Kind.USER, name=username, user=user)
        user.groups.set([_group(name) for name in groups])
        audit.record("kms:CreateUser", _arn(user), actor=actor or principal, resource_id=user.pk)
    return user


def create_first_administrator() -> tuple[User, Plaintext] | None:
    """Make the first administrator with a password that is returned once; None where anybody exists."""
    if User.objects.exists():
        return None
    regions.account()
    password = Policy(length=24, sets=("lower", "upper", "digits"), excluded="0O1lI").generate()
    return create(FIRST_NAME, password, groups=[ADMINISTRATORS]), password


def recover(user: User, *, reason: str) -> Plaintext:
    """Let this person in again with a password that is returned once; their sessions end by it.

    For whoever runs Keyturn's server, so nobody is asked whether they may.
    """
    password = Policy(length=24, sets=("lower", "upper", "digits"), excluded="0O1lI").generate()
    with transaction.atomic():
        user.set_password(password.reveal())
        user.must_change_password = user.is_active = True
        user.save(update_fields=["password", "must_change_password", "is_active"])
        audit.record("kms:RecoverUser", _arn(user), actor=system(), resource_id=user.pk, reason=reason)
    return password


def password_changed(user: User) -> None:
    """Note that this person has chosen a password of their own."""
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(must_change_password=False)
        user.must_change_password = False
        audit.record("kms:ChangePassword", _arn(user), actor=user.principal, resource_id=user.pk)


def system() -> Principal:
    """Return the principal that schedules act as."""
    return Principal.objects.get_or_create(kind=Principal.Kind.SYSTEM, defaults={"name": "Keyturn"})[0]


def _group(name: str) -> Group:
    if name not in GROUPS:
        raise ValueError(f"There is no group {name}.")
    group, is_new = Group.objects.get_or_create(name=name)
    if is_new:
        rulebook.give_group(group, _POLICIES[name])
    return group


def _arn(user: User) -> str:
    return f"acs:kms::{regions.account().number}:user/{user.username}"
