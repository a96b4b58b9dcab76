"""Fetch with permission: the first line of every view.

What one may not describe does not exist, and what one may describe but not do is refused, and recorded:
`fetching` decides both for the principal of a request, and `console.errors` answers (404, 403).
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from console.fetching import by_region, instances_and_runs, secrets_and_keys
from console.http import OperatorRequest
from rotation import accounts
from rotation.models import Instance, ManagementCredential, Run
from secrets_app.actions import Action
from secrets_app.models import Key, Principal, Region, Secret, User
from secrets_app.policy import decisions, requiring

ALL_REGIONS, OF_AN_ACCOUNT = by_region.ALL_REGIONS, secrets_and_keys.OF_AN_ACCOUNT
SECTIONS: dict[str, Action | tuple[Action, ...]] = {
    "overview": Action.LIST_RUNS,
    "secrets": Action.LIST_SECRETS,
    "instances": Action.LIST_INSTANCES,
    "rotations": Action.LIST_RUNS,
    "access": (Action.LIST_USERS, Action.LIST_GROUPS, Action.LIST_POLICIES, Action.LIST_ACCESS_KEYS),
    "audit": Action.LIST_EVENTS,
    "keys": Action.LIST_KEYS,
    "settings": Action.DESCRIBE_SETTINGS,
}


def may(request: HttpRequest, action: Action, resource: object = None) -> bool:
    """Whether the person who asks may do this; for showing a button, never instead of `require`.

    Without a resource: whether there could be one.
    """
    return requiring.may(_who(request), action, resource)


def may_of_account(request: HttpRequest, action: Action, secret: Secret) -> bool:
    """As `may`, for an action of `OF_AN_ACCOUNT`: never where the secret manages no account."""
    return accounts.of(secret) is not None and may(request, action, secret)


def may_open(request: HttpRequest, section: str) -> bool:
    """Whether the navigation shows this section."""
    wanted = SECTIONS.get(section, ())
    return any(may(request, action) for action in ((wanted,) if isinstance(wanted, Action) else wanted))


def shown_regions(request: HttpRequest) -> list[Region]:
    """The regions whose name is shown to this person: those with a list that they may open, or may add to."""
    return by_region.shown(_who(request))


def _who(request: HttpRequest) -> Principal | None:
    return request.user.principal if isinstance(request.user, User) else None


def require(request: OperatorRequest, action: Action, resource: object = None) -> None:
    """Return if allowed; else record the refusal. Raises `requiring.Refused`.

    Without a resource: if there could be one.
    """
    requiring.require(request.principal, action, resource)


def refused(request: OperatorRequest, error: decisions.NotAllowed) -> requiring.Refused:
    """Record what the domain refused; outside the transaction that ended by it."""
    return requiring.refused(request.principal, error)


def region(request: OperatorRequest, code: str) -> Region | None:
    """Return the region in the URL, None for All regions. Raises `requiring.NotFound`."""
    return by_region.region(code)


# ---------------------------------------------------------------- as `fetching` has them


def described_regions(request: OperatorRequest) -> QuerySet[Region]:
    return by_region.described(request.principal)


def region_to(request: OperatorRequest, pk: UUID, action: Action) -> Region:
    return by_region.to_change(request.principal, pk, action)


def secrets(request: OperatorRequest, code: str, *, purged: bool = False) -> QuerySet[Secret]:
    return secrets_and_keys.secrets(request.principal, code, purged=purged)


def seen_secrets(request: OperatorRequest) -> QuerySet[Secret]:
    return secrets_and_keys.seen_secrets(request.principal)


def sees_all_secrets(request: OperatorRequest) -> bool:
    return secrets_and_keys.sees_all(request.principal)


def secret(request: OperatorRequest, code: str, pk: UUID, action: Action) -> Secret:
    return secrets_and_keys.secret(request.principal, code, pk, action)


def keys(request: OperatorRequest) -> QuerySet[Key]:
    return secrets_and_keys.keys(request.principal)


def key_aliases(request: OperatorRequest) -> list[str]:
    return secrets_and_keys.key_aliases(request.principal)


def keys_to_seal_with(request: OperatorRequest) -> QuerySet[Key]:
    return secrets_and_keys.keys_to_seal_with(request.principal)


def key(request: OperatorRequest, pk: UUID, action: Action) -> Key:
    return secrets_and_keys.key(request.principal, pk, action)


def instances(request: OperatorRequest, code: str, *, with_retired: bool = False) -> QuerySet[Instance]:
    return instances_and_runs.instances(request.principal, code, with_retired=with_retired)


def sees_all_instances(request: OperatorRequest, code: str) -> bool:
    return instances_and_runs.sees_all_instances(request.principal, code)


def seen_instances(request: OperatorRequest) -> QuerySet[Instance]:
    return instances_and_runs.seen_instances(request.principal)


def instance(request: OperatorRequest, code: str, pk: UUID, action: Action) -> Instance:
    return instances_and_runs.instance(request.principal, code, pk, action)


def sees_own_login(request: OperatorRequest, instance: Instance) -> bool:
    return instances_and_runs.sees_own_login(request.principal, instance)


def credentials(request: OperatorRequest, *, deleted: bool = False) -> QuerySet[ManagementCredential]:
    return instances_and_runs.credentials(request.principal, deleted=deleted)


def credential(request: OperatorRequest, pk: UUID, action: Action) -> ManagementCredential:
    return instances_and_runs.credential(request.principal, pk, action)


def runs(request: OperatorRequest, code: str) -> QuerySet[Run]:
    return instances_and_runs.runs(request.principal, code)


def sees_all_runs(request: OperatorRequest, code: str) -> bool:
    return instances_and_runs.sees_all_runs(request.principal, code)


def run(request: OperatorRequest, code: str, pk: UUID) -> Run:
    return instances_and_runs.run(request.principal, code, pk)
