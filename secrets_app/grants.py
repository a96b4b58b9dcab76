"""The only writer of grants: one action on one secret, for a user or a group.

Who grants hands out only what the decision allows them now. A grant ends with its secret: a new secret of
the same name has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group
from django.db import transaction
from guardian.shortcuts import assign_perm, remove_perm

from secrets_app import audit, policies
from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.models import Principal, Secret, SecretGroupGrant, SecretUserGrant, User


def grant(secret: Secret, to: User | Group, actions: Iterable[Action], *, actor: Principal) -> None:
    """Let `to` do `actions` to this secret. Raises `policies.NotAllowed` for one that `actor` may not do."""
    wanted = list(actions)
    policies.require(actor, Action.CREATE_GRANT, secret)
    for action in wanted:
        if action not in OF_A_SECRET:
            raise ValueError(f"{action} is not done to one secret.")
        policies.require(actor, action, secret)
    with transaction.atomic():
        for action in wanted:
            assign_perm(action.value, to, secret)
        table, whom = _table(to)
        rows = table.objects.filter(content_object=secret, granted_by=None, **whom)
        rows.update(granted_by=actor)
        details = {"actions": sorted(action.value for action in wanted), **_named(to)}
        audit.record(Action.CREATE_GRANT, secret, actor=actor, details=details)
    policies.forget()


def revoke(secret: Secret, whose: User | Group, actions: Iterable[Action], *, actor: Principal) -> None:
    """End that. Raises `policies.NotAllowed`."""
    policies.require(actor, Action.REVOKE_GRANT, secret)
    gone = list(actions)
    with transaction.atomic():
        for action in gone:
            remove_perm(action.value, whose, secret)
        details = {"actions": sorted(action.value for action in gone), **_named(whose)}
        audit.record(Action.REVOKE_GRANT, secret, actor=actor, details=details)
    policies.forget()


def end_all(secret: Secret) -> int:
    """End every grant on a secret that is purged; return how many there were."""
    rows = [table.objects.filter(content_object=secret) for table in (SecretUserGrant, SecretGroupGrant)]
    return sum(found.delete()[0] for found in rows)


def _table(to: User | Group) -> tuple[type[SecretUserGrant | SecretGroupGrant], dict[str, User | Group]]:
    return (SecretUserGrant, {"user": to}) if isinstance(to, User) else (SecretGroupGrant, {"group": to})


def _named(to: User | Group) -> dict[str, str]:
    return {"user" if isinstance(to, User) else "group": str(to)}
