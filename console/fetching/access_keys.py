"""Access keys and whose they are, as far as a principal may see and use them.

A key is shown to those who may list the keys of its owner and may see the owner. To make a key, or to enable
one, hands out the rights of its owner, so for another user or an application it takes *KMS full access*.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.models import AccessKey, Principal
from secrets_app.people import access_keys
from secrets_app.policy import decisions, policies, requiring

_WITH_A_KEY = ("principal__user", "created_by")


def listed(actor: Principal) -> QuerySet[AccessKey]:
    """The access keys that `actor` may see. Raises `Refused`."""
    requiring.require(actor, Action.LIST_ACCESS_KEYS)
    return seen(actor)


def seen(actor: Principal) -> QuerySet[AccessKey]:
    """Those of which one may list the keys and may see the owner; and one's own, if one may list them."""
    account = regions.account().number
    holders = Principal.objects.filter(pk__in=AccessKey.objects.values("principal"))
    shown = [row.pk for row in holders if _sees(actor, row, account)]
    return AccessKey.objects.filter(principal__in=shown).select_related(*_WITH_A_KEY)


def key(actor: Principal, pk: UUID, action: Action) -> AccessKey:
    """Return one access key for `action`. Raises `NotFound` or `Refused`."""
    row = AccessKey.objects.select_related(*_WITH_A_KEY).filter(pk=pk).first()
    if row is None or not _sees(actor, row.principal, regions.account().number):
        raise requiring.NotFound
    requiring.require(actor, action, access_keys.named(row.principal))
    return row


def beside(key: AccessKey) -> AccessKey | None:
    """The other key of the same owner, who has two at most."""
    return AccessKey.objects.filter(principal=key.principal).exclude(pk=key.pk).first()


def _sees(actor: Principal, owner: Principal, account: str) -> bool:
    name = access_keys.named(owner, account=account)
    if not decisions.allows(actor, Action.LIST_ACCESS_KEYS, name):
        return False
    return owner == actor or decisions.allows(actor, Action.DESCRIBE_USER, name)


# ---------------------------------------------------------------- whose keys one may make


def owners(actor: Principal) -> QuerySet[Principal]:
    """For whom `actor` may make an access key: for themselves; with full access for all they may see."""
    account = regions.account().number
    enabled = Q(user__is_active=True) | Q(kind=Principal.Kind.MACHINE, is_active=True)
    rows = Principal.objects.filter(enabled)
    if not policies.has_full_access(actor):
        rows = rows.filter(pk=actor.pk)
    given = [row.pk for row in rows if _makes_for(actor, row, account)]
    return Principal.objects.filter(pk__in=given).select_related("user")


def owner(actor: Principal, pk: UUID) -> Principal:
    """Return the one whom `actor` wants to give a key. Raises `NotFound` or `Refused`."""
    row = Principal.objects.exclude(kind=Principal.Kind.SYSTEM).select_related("user").filter(pk=pk).first()
    account = regions.account().number
    if row is None:
        raise requiring.NotFound
    name = access_keys.named(row, account=account)
    if row != actor:
        requiring.require_seen(actor, Action.DESCRIBE_USER, name)
    require_to_give(actor, Action.CREATE_ACCESS_KEY, row)
    return row


def require_to_give(actor: Principal, action: Action, owner: Principal) -> None:
    """Return if `actor` may do `action`, which hands out the rights of `owner`. Raises `Refused`."""
    name = access_keys.named(owner)
    if owner == actor:
        requiring.require(actor, action, name)
    else:
        requiring.require_full_access(actor, action, name)


def _makes_for(actor: Principal, owner: Principal, account: str) -> bool:
    name = access_keys.named(owner, account=account)
    if not decisions.allows(actor, Action.CREATE_ACCESS_KEY, name):
        return False
    return owner == actor or decisions.allows(actor, Action.DESCRIBE_USER, name)
