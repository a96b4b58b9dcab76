"""Fetch with permission: the first line of every view.

What one may not describe does not exist (404); what one may describe but not do is refused (403,
recorded). A list shows only what its reader may describe.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar, cast
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest

from console.http import OperatorRequest
from rotation import accounts
from rotation.models import Instance, ManagementCredential, Run
from secrets_app import actions, keyring
from secrets_app.audit import refusals
from secrets_app.keys import key_states
from secrets_app.models import Key, Region, Secret, User
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.policy.sql import ALL
from secrets_app.secrets import lifecycle

Row = TypeVar("Row", Secret, Instance)
ALL_REGIONS = "all"
WHILE_PENDING_DELETION = frozenset({Action.DESCRIBE_SECRET, Action.RESTORE_SECRET})
#: What is done to the account that a secret manages: a generic secret has none.
OF_AN_ACCOUNT = frozenset(
    {
        Action.ROTATE_SECRET,
        Action.UPDATE_ROTATION,
        Action.RESOLVE_ROTATION,
        Action.OVERRIDE_CHECK,
        Action.REBIND_ACCOUNT,
    }
)
SECTIONS: dict[str, Action | tuple[Action, ...]] = {
    "overview": Action.LIST_RUNS,
    "secrets": Action.LIST_SECRETS,
    "instances": Action.LIST_INSTANCES,
    "rotations": Action.LIST_RUNS,
    "access": (Action.LIST_USERS, Action.LIST_GROUPS, Action.LIST_POLICIES),
    "audit": Action.LIST_EVENTS,
    "keys": Action.LIST_KEYS,
}


_OF_A_REGION = (
    Action.LIST_SECRETS,
    Action.LIST_INSTANCES,
    Action.LIST_RUNS,
    Action.REGISTER_INSTANCE,
)


class Refused(PermissionDenied):
    """Who asks may not do this; `decision` says why, in words about nobody else."""

    def __init__(self, decision: decisions.Decision, action: Action, resource: str) -> None:
        super().__init__(decision.because)
        self.decision, self.action, self.resource = decision, action, resource
        self.lacks_factor = False  # with a second factor it would be allowed


def may(request: HttpRequest, action: Action, resource: object = None) -> bool:
    """Whether the person who asks may do this; for showing a button, never instead of `require`.

    Without a resource: whether there could be one.
    """
    principal = request.user.principal if isinstance(request.user, User) else None
    if resource is None:
        return decisions.may_somewhere(principal, action)
    return decisions.allows(principal, action, resource)


def may_of_account(request: HttpRequest, action: Action, secret: Secret) -> bool:
    """As `may`, for an action of `OF_AN_ACCOUNT`: never where the secret manages no account."""
    return accounts.of(secret) is not None and may(request, action, secret)


def may_open(request: HttpRequest, section: str) -> bool:
    """Whether the navigation shows this section."""
    wanted = SECTIONS.get(section, ())
    return any(may(request, action) for action in ((wanted,) if isinstance(wanted, Action) else wanted))


def require(request: OperatorRequest, action: Action, resource: object = None) -> None:
    """Return if allowed; else record the refusal. Without a resource: if there could be one.

    Raises PermissionDenied.
    """
    if resource is None and (action.kind.is_regional or not action.on_container):
        if decisions.may_somewhere(request.principal, action):
            return
        refuse(request, action, None, decisions.Decision(False, f"None of your policies allows {action}."))
    try:
        decisions.require(request.principal, action, resource)
    except decisions.NotAllowed as error:
        raise refused(request, error) from None


def refuse(
    request: OperatorRequest, action: Action, resource: object, decision: decisions.Decision
) -> NoReturn:
    """Record that this was refused. Raises `Refused`."""
    raise _noted(request, action, resource, decision)


def refused(request: OperatorRequest, error: decisions.NotAllowed) -> Refused:
    """Record what the domain refused; outside the transaction that ended by it."""
    return _noted(request, cast(Action, error.action), error.resource, decisions.Decision(False, str(error)))


def _noted(
    request: OperatorRequest, action: Action, resource: object, decision: decisions.Decision
) -> Refused:
    arn = str(getattr(resource, "arn", ""))
    refusals.note(
        action,
        arn or actions.arn(action.kind, "", account="*", region="*"),
        actor=request.principal,
        because=decision.because,
        resource_id=getattr(resource, "pk", None),
    )
    refused = Refused(decision, action, arn)
    refused.lacks_factor = decisions.lacks_second_factor(request.principal, action, resource)
    return refused


def _regions(request: OperatorRequest, action: Action, here: Region | None) -> list[Region]:
    """The regions whose list may be shown, of the one in the URL or of all. Raises PermissionDenied."""
    if here is not None:
        require(request, action, here)
        return [here]
    require(request, action)
    return decisions.allowed_regions(request.principal, action)


def region(request: OperatorRequest, code: str) -> Region | None:
    """Return the region in the URL, None for All regions. Raises Http404."""
    if code == ALL_REGIONS:
        return None
    found = Region.objects.filter(code=code, retired_at__isnull=True).first()
    if found is None:
        raise Http404
    return found


def secrets(request: OperatorRequest, code: str, *, purged: bool = False) -> QuerySet[Secret]:
    """The secrets of a region (or of all) that this person may see; purged ones only where asked for."""
    listed = _regions(request, Action.LIST_SECRETS, region(request, code))
    rows = Secret.objects.filter(purged_at__isnull=not purged).select_related("region", "account")
    seen = decisions.visible(request.principal, Action.DESCRIBE_SECRET, decisions.secret_rows())
    return _within(rows, listed).filter(seen)


def seen_secrets(request: OperatorRequest) -> QuerySet[Secret]:
    """As `secrets` of all regions; none for a person who may list none. For whatever is counted or named."""
    return secrets(request, ALL_REGIONS) if may(request, Action.LIST_SECRETS) else Secret.objects.none()


def seen_instances(request: OperatorRequest) -> QuerySet[Instance]:
    """As `instances` of all regions; none for a person who may list none."""
    if not may(request, Action.LIST_INSTANCES):
        return Instance.objects.none()
    return instances(request, ALL_REGIONS)


def sees_own_login(request: OperatorRequest, instance: Instance) -> bool:
    """Whether the secret that an instance logs in with may be named to this person."""
    return instance.own_login is not None and may(request, Action.DESCRIBE_SECRET, instance.own_login)


def shown_regions(request: HttpRequest) -> list[Region]:
    """The regions whose name is shown to this person: those with a list that they may open, or may add to."""
    return [
        row
        for row in decisions.every_region()
        if row.retired_at is None and any(may(request, action, row) for action in _OF_A_REGION)
    ]


def _within(rows: QuerySet[Row], listed: list[Region]) -> QuerySet[Row]:
    """Leave out the comparison where every region is listed: an index on names then serves the page."""
    return rows if decisions.are_all_regions(listed) else rows.filter(region__in=listed)


def secret(request: OperatorRequest, code: str, pk: UUID, action: Action) -> Secret:
    """Return one secret for `action`.

    Raises Http404, PermissionDenied, `lifecycle.NotEnabled` for an action that a secret which is pending
    deletion or purged does not allow, or `accounts.Unmanaged` for one that needs an account.
    """
    rows = Secret.objects.select_related("region", "account", "managed__instance__region", "key", "schedule")
    found = rows.filter(pk=pk).first()
    if found is None or code not in {found.region.code, ALL_REGIONS}:
        raise Http404
    _describe_or_404(request, Action.DESCRIBE_SECRET, found)
    require(request, action, found)
    if action not in WHILE_PENDING_DELETION:
        lifecycle.require_enabled(found)
    if action in OF_AN_ACCOUNT:
        accounts.needed(found)
    return found


def instances(request: OperatorRequest, code: str) -> QuerySet[Instance]:
    """The instances of a region (or of all) that this person may see."""
    listed = _regions(request, Action.LIST_INSTANCES, region(request, code))
    rows = Instance.objects.select_related("region", "account", "credential", "own_login__managed")
    seen = decisions.visible(request.principal, Action.DESCRIBE_INSTANCE, decisions.instance_rows())
    return _within(rows, listed).filter(seen)


def instance(request: OperatorRequest, code: str, pk: UUID, action: Action) -> Instance:
    """Return one instance for `action`. Raises Http404 or PermissionDenied."""
    found = (
        Instance.objects.select_related("region", "account", "credential", "own_login__managed")
        .filter(pk=pk)
        .first()
    )
    if found is None or code not in {found.region.code, ALL_REGIONS}:
        raise Http404
    _describe_or_404(request, Action.DESCRIBE_INSTANCE, found)
    require(request, action, found)
    return found


def credentials(request: OperatorRequest) -> QuerySet[ManagementCredential]:
    """The management credentials that this person may see."""
    require(request, Action.LIST_CREDENTIALS)
    seen = [
        row.pk
        for row in ManagementCredential.objects.select_related("account")
        if decisions.allows(request.principal, Action.DESCRIBE_CREDENTIAL, row)
    ]
    return ManagementCredential.objects.filter(pk__in=seen).select_related("account", "created_by")


def credential(request: OperatorRequest, pk: UUID, action: Action) -> ManagementCredential:
    """Return one management credential for `action`. Raises Http404 or PermissionDenied."""
    found = ManagementCredential.objects.select_related("account", "created_by").filter(pk=pk).first()
    if found is None:
        raise Http404
    _describe_or_404(request, Action.DESCRIBE_CREDENTIAL, found)
    require(request, action, found)
    return found


def keys(request: OperatorRequest) -> QuerySet[Key]:
    """The keys that this person may see."""
    require(request, Action.LIST_KEYS)
    return _described_keys(request, Key.objects.all())


def keys_to_seal_with(request: OperatorRequest) -> QuerySet[Key]:
    """The keys that may be chosen for a secret: the default one, and those that this person may see."""
    known = _described_keys(request, Key.objects.all()).values("pk")
    return key_states.enabled().filter(Q(pk__in=known) | Q(alias=keyring.DEFAULT_ALIAS))


def _described_keys(request: OperatorRequest, rows: QuerySet[Key]) -> QuerySet[Key]:
    seen = [
        row.pk
        for row in rows.select_related("account")
        if decisions.allows(request.principal, Action.DESCRIBE_KEY, row)
    ]
    return rows.filter(pk__in=seen).select_related("account", "created_by").prefetch_related("versions")


def key(request: OperatorRequest, pk: UUID, action: Action) -> Key:
    """Return one key for `action`. Raises Http404 or PermissionDenied."""
    found = Key.objects.select_related("account", "created_by").filter(pk=pk).first()
    if found is None:
        raise Http404
    _describe_or_404(request, Action.DESCRIBE_KEY, found)
    require(request, action, found)
    return found


def runs(request: OperatorRequest, code: str) -> QuerySet[Run]:
    """The runs of a region (or of all) that this person may see."""
    listed = _regions(request, Action.LIST_RUNS, region(request, code))
    rows = Run.objects.select_related("secret", "instance__region", "requested_by", "version")
    if not decisions.are_all_regions(listed):
        # Not a join: the newest are read in their order, and each is looked up in the region.
        rows = rows.filter(Exists(Instance.objects.filter(pk=OuterRef("instance"), region__in=listed)))
    of_secrets = decisions.visible(request.principal, Action.DESCRIBE_RUN, decisions.secret_rows())
    of_instances = decisions.visible(request.principal, Action.DESCRIBE_RUN, decisions.instance_rows())
    if ALL is of_secrets is of_instances:
        return rows
    return rows.filter(
        Exists(Secret.objects.filter(of_secrets, pk=OuterRef("secret")))
        | Q(Exists(Instance.objects.filter(of_instances, pk=OuterRef("instance"))), secret=None)
    )


def run(request: OperatorRequest, code: str, pk: UUID) -> Run:
    """Return one run to look at: users who may describe its secret or instance may. Raises Http404."""
    rows = Run.objects.select_related(
        "secret__region",
        "secret__account",
        "secret__managed",
        "instance__region",
        "instance__account",
        "requested_by",
        "version",
    )
    found = rows.filter(pk=pk).first()
    if found is None or code not in {found.instance.region.code, ALL_REGIONS}:
        raise Http404
    _describe_or_404(request, Action.DESCRIBE_RUN, found)
    return found


def _describe_or_404(request: OperatorRequest, action: Action, resource: object) -> None:
    if not decisions.allows(request.principal, action, resource):
        raise Http404
