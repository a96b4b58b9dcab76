"""Secrets, and the keys that they are sealed under, as far as a principal may see and use them.

What one may not describe does not exist (`NotFound`); what one may describe but not do is refused (`Refused`,
recorded). A list shows only what its reader may describe.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from console.fetching import by_region
from rotation import accounts
from secrets_app import keyring, prepared
from secrets_app.actions import Action
from secrets_app.keys import key_states
from secrets_app.models import Key, Principal, Secret
from secrets_app.policy import decisions, requiring
from secrets_app.policy.sql import ALL
from secrets_app.secrets import lifecycle

WHILE_PENDING_DELETION = frozenset({Action.DESCRIBE_SECRET, Action.RESTORE_SECRET})
#: What is done to the account that a secret manages: a generic secret has none.
OF_AN_ACCOUNT = frozenset(
    {
        Action.ROTATE_SECRET,
        Action.UPDATE_ROTATION,
        Action.RESOLVE_ROTATION,
        Action.OVERRIDE_CHECK,
        Action.OVERRIDE_POLICY,
        Action.REBIND_ACCOUNT,
    }
)
#: What a replica does not allow where it is: it follows the secret that it is a copy of.
OF_A_PRIMARY = frozenset({Action.PUT_SECRET_VALUE, Action.UPDATE_SECRET, Action.DELETE_SECRET})
_WITH_A_SECRET = ("region", "account", "managed__instance__region", "key", "schedule")
_SECRET: prepared.Question[Secret] = prepared.Question(
    lambda pk: Secret.objects.select_related(*_WITH_A_SECRET).filter(pk=pk)
)


def secrets(actor: Principal, code: str, *, purged: bool = False) -> QuerySet[Secret]:
    """The secrets of a region (or of all) that `actor` may see; purged ones only where asked for.

    Raises `NotFound` or `Refused`.
    """
    listed = by_region.listed(actor, Action.LIST_SECRETS, code)
    rows = Secret.objects.filter(purged_at__isnull=not purged).select_related("region", "account")
    seen = decisions.visible(actor, Action.DESCRIBE_SECRET, decisions.secret_rows())
    return by_region.within(rows, listed).filter(seen)


def seen_secrets(actor: Principal) -> QuerySet[Secret]:
    """As `secrets`, of all regions; empty for a principal who may list none. For counts and names."""
    if not requiring.may(actor, Action.LIST_SECRETS):
        return Secret.objects.none()
    return secrets(actor, by_region.ALL_REGIONS)


def sees_all(actor: Principal) -> bool:
    """Whether no secret that is kept is hidden from `actor`, so that none has to be asked about."""
    return (
        requiring.may(actor, Action.LIST_SECRETS)
        and decisions.are_all_regions(by_region.listed(actor, Action.LIST_SECRETS, by_region.ALL_REGIONS))
        and decisions.visible(actor, Action.DESCRIBE_SECRET, decisions.secret_rows()) is ALL
    )


def secret(actor: Principal, code: str, pk: UUID, action: Action) -> Secret:
    """Return one secret for `action`.

    Raises `NotFound`, `Refused`, `lifecycle.NotEnabled` for an action that a secret which is pending
    deletion or purged does not allow, or `accounts.Unmanaged` for one that needs an account.
    """
    row = _SECRET.first(pk)
    if row is None:
        raise requiring.NotFound
    by_region.require_within(code, row.region)
    return _for(actor, row, action)


def secret_named(actor: Principal, code: str, name: str, action: Action) -> Secret:
    """Return the secret of this name in one region for `action`. Raises as `secret`.

    A purged one has no name any more: another may have it.
    """
    rows = Secret.objects.select_related(*_WITH_A_SECRET).filter(purged_at__isnull=True)
    row = rows.filter(region__code=code, name=name).first()
    if row is None:
        raise requiring.NotFound
    return _for(actor, row, action)


def _for(actor: Principal, secret: Secret, action: Action) -> Secret:
    requiring.require_seen(actor, Action.DESCRIBE_SECRET, secret)
    requiring.require(actor, action, secret)
    if action not in WHILE_PENDING_DELETION:
        lifecycle.require_enabled(secret)
    if action in OF_AN_ACCOUNT:
        accounts.needed(secret)
    if action in OF_A_PRIMARY:
        lifecycle.require_own(secret)
    return secret


# ---------------------------------------------------------------- keys


def keys(actor: Principal) -> QuerySet[Key]:
    """The keys that `actor` may see. Raises `Refused`."""
    requiring.require(actor, Action.LIST_KEYS)
    return _described(actor, Key.objects.all())


_KEYS = prepared.Question(lambda: Key.objects.select_related("account").order_by("alias"))


def key_aliases(actor: Principal) -> list[str]:
    """The aliases of the keys that `actor` may see, in their order. Raises `Refused`."""
    requiring.require(actor, Action.LIST_KEYS)
    return [row.alias for row in _KEYS() if decisions.allows(actor, Action.DESCRIBE_KEY, row)]


def keys_to_seal_with(actor: Principal) -> QuerySet[Key]:
    """The keys that may be chosen for a secret: the default one, and those that `actor` may see."""
    known = _described(actor, Key.objects.all()).values("pk")
    return key_states.enabled().filter(Q(pk__in=known) | Q(alias=keyring.DEFAULT_ALIAS))


def _described(actor: Principal, rows: QuerySet[Key]) -> QuerySet[Key]:
    seen = [
        row.pk for row in rows.select_related("account") if decisions.allows(actor, Action.DESCRIBE_KEY, row)
    ]
    return rows.filter(pk__in=seen).select_related("account", "created_by").prefetch_related("versions")


def key(actor: Principal, pk: UUID, action: Action) -> Key:
    """Return one key for `action`. Raises `NotFound` or `Refused`."""
    row = Key.objects.select_related("account", "created_by").filter(pk=pk).first()
    if row is None:
        raise requiring.NotFound
    requiring.require_seen(actor, Action.DESCRIBE_KEY, row)
    requiring.require(actor, action, row)
    return row
