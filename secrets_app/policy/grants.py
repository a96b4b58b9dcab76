"""The only writer of grants: one action on one secret, for a principal or a group.

Users grant only what the decision allows them now, under the same conditions, and not to themselves. A grant
ends with its secret: a new secret of the same name has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group
from django.db import transaction

from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.audit import trail
from secrets_app.models import Principal, Secret, SecretGroupGrant, SecretPrincipalGrant, User
from secrets_app.policy import decisions, ram_conditions


class ToOneself(decisions.NotAllowed):
    """Users cannot grant to themselves, nor to a group that they are in."""

    code = "grant_to_oneself"


def grant(
    secret: Secret, to: Principal | User | Group, actions: Iterable[Action], *, actor: Principal
) -> None:
    """Let `to` do `actions` to this secret, on the conditions on which `actor` may do them.

    Raises `decisions.NotAllowed` for one that `actor` may not do, `ToOneself`, or ValueError.
    """
    decisions.require(actor, Action.CREATE_GRANT, secret)
    if is_oneself(to, actor):
        raise ToOneself(ToOneself.__doc__ or "", Action.CREATE_GRANT, secret)
    wanted = {}
    for action in actions:
        if action not in OF_A_SECRET:
            raise ValueError(f"{action} is not done to one secret.")
        wanted[action] = ram_conditions.written(decisions.conditions_held(actor, action, secret))
    with transaction.atomic():
        for action, conditions in wanted.items():
            _give(secret, to, action, conditions, actor)
        details = {"actions": sorted(action.value for action in wanted), **_named(to)}
        if any(wanted.values()):
            details["conditions"] = sorted(set(filter(None, wanted.values())))
        trail.record(Action.CREATE_GRANT, secret, actor=actor, details=details)
    decisions.forget()


def is_oneself(to: Principal | User | Group, actor: Principal) -> bool:
    """Whether a grant to `to` would be one to `actor`."""
    if isinstance(to, Group):
        return bool(actor.groups.filter(pk=to.pk).exists())
    return decisions.principal_of(to) == actor


def _give(
    secret: Secret, to: Principal | User | Group, action: Action, conditions: str, actor: Principal
) -> None:
    table, whom = _table(to)
    (holder,) = whom.values()
    table.objects.assign_perm(action.value, holder, secret)
    given = table.objects.select_for_update().get(
        content_object=secret, permission__codename=action.value, **whom
    )
    if given.granted_by_id and given.conditions in {"", conditions}:
        return  # they have it already, and on no narrower conditions
    if given.granted_by_id and conditions:
        # Neither of the two is the wider one: to put this in the place of that also takes that away.
        decisions.require(actor, Action.REVOKE_GRANT, secret)
    table.objects.filter(pk=given.pk).update(granted_by=actor, conditions=conditions)


def revoke(
    secret: Secret, whose: Principal | User | Group, actions: Iterable[Action], *, actor: Principal
) -> None:
    """End that. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.REVOKE_GRANT, secret)
    gone = list(actions)
    table, whom = _table(whose)
    (holder,) = whom.values()
    with transaction.atomic():
        for action in gone:
            table.objects.remove_perm(action.value, holder, secret)
        details = {"actions": sorted(action.value for action in gone), **_named(whose)}
        trail.record(Action.REVOKE_GRANT, secret, actor=actor, details=details)
    decisions.forget()


def end_all(secret: Secret) -> int:
    """End every grant on a secret that is purged; return how many there were."""
    tables = (SecretPrincipalGrant, SecretGroupGrant)
    return sum(table.objects.filter(content_object=secret).delete()[0] for table in tables)


def _table(
    to: Principal | User | Group,
) -> tuple[type[SecretPrincipalGrant | SecretGroupGrant], dict[str, Principal | Group]]:
    if isinstance(to, Group):
        return SecretGroupGrant, {"group": to}
    return SecretPrincipalGrant, {"principal": decisions.principal_of(to)}


def _named(to: Principal | User | Group) -> dict[str, str]:
    if isinstance(to, Group):
        return {"group": to.name}
    principal = decisions.principal_of(to)
    return {str(principal.kind): principal.name}
