"""Instances, the credentials Keyturn works with there, and runs, as far as a principal may see and use them.

What one may not describe does not exist (`NotFound`); what one may describe but not do is refused (`Refused`,
recorded). A list shows only what its reader may describe.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from console.fetching import by_region
from rotation.inventory import holding
from rotation.models import Instance, ManagementCredential, Run
from secrets_app import prepared
from secrets_app.actions import Action
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions, requiring
from secrets_app.policy.sql import ALL

_WITH_AN_INSTANCE = ("region", "account", "credential", "own_login__managed")
_INSTANCE: prepared.Question[Instance] = prepared.Question(
    lambda pk: Instance.objects.select_related(*_WITH_AN_INSTANCE).filter(pk=pk)
)
_WITH_A_RUN = (
    "secret__region", "secret__account", "secret__managed", "instance__region", "instance__account",
    "requested_by", "version",
)  # fmt: skip
_RUN: prepared.Question[Run] = prepared.Question(
    lambda pk: Run.objects.select_related(*_WITH_A_RUN).filter(pk=pk)
)


def instances(actor: Principal, code: str, *, with_retired: bool = False) -> QuerySet[Instance]:
    """The instances of a region (or of all) that `actor` may see, with the retired ones where asked for.

    Raises `NotFound` or `Refused`.
    """
    listed = by_region.listed(actor, Action.LIST_INSTANCES, code)
    rows = Instance.objects.all() if with_retired else Instance.objects.registered()
    rows = rows.select_related(*_WITH_AN_INSTANCE)
    seen = decisions.visible(actor, Action.DESCRIBE_INSTANCE, decisions.instance_rows())
    return by_region.within(rows, listed).filter(seen)


def seen_instances(actor: Principal) -> QuerySet[Instance]:
    """As `instances` of all regions; none for one who may list none."""
    if not requiring.may(actor, Action.LIST_INSTANCES):
        return Instance.objects.none()
    return instances(actor, by_region.ALL_REGIONS)


def instance(actor: Principal, code: str, pk: UUID, action: Action) -> Instance:
    """Return one instance for `action`.

    Raises `NotFound`, `Refused`, or `holding.Retired` for anything but to look at a retired one.
    """
    row = _INSTANCE.first(pk)
    if row is None:
        raise requiring.NotFound
    by_region.require_within(code, row.region)
    return _instance_for(actor, row, action)


def instance_named(actor: Principal, code: str, name: str, action: Action) -> Instance:
    """Return the registered instance of this name or id in one region for `action`. Raises as `instance`."""
    rows = Instance.objects.registered().select_related(*_WITH_AN_INSTANCE).filter(region__code=code)
    row = rows.filter(name=name).first() or rows.filter(instance_id=name).first()
    if row is None:
        raise requiring.NotFound
    return _instance_for(actor, row, action)


def _instance_for(actor: Principal, row: Instance, action: Action) -> Instance:
    requiring.require_seen(actor, Action.DESCRIBE_INSTANCE, row)
    requiring.require(actor, action, row)
    if action != Action.DESCRIBE_INSTANCE:
        holding.require_registered(row)
    return row


def sees_own_login(actor: Principal, instance: Instance) -> bool:
    """Whether the secret that an instance logs in with may be named to `actor`."""
    login = instance.own_login
    return login is not None and requiring.may(actor, Action.DESCRIBE_SECRET, login)


# ---------------------------------------------------------------- management credentials


def credentials(actor: Principal, *, deleted: bool = False) -> QuerySet[ManagementCredential]:
    """The management credentials that `actor` may see; deleted ones only on request. Raises `Refused`."""
    requiring.require(actor, Action.LIST_CREDENTIALS)
    seen = [
        row.pk
        for row in ManagementCredential.objects.filter(deleted_at__isnull=not deleted).select_related(
            "account"
        )
        if decisions.allows(actor, Action.DESCRIBE_CREDENTIAL, row)
    ]
    return ManagementCredential.objects.filter(pk__in=seen).select_related("account", "created_by")


def credential(actor: Principal, pk: UUID, action: Action) -> ManagementCredential:
    """Return one management credential for `action`.

    Raises `NotFound`, `Refused`, or `holding.CredentialDeleted` for anything but to look at a deleted one.
    """
    row = ManagementCredential.objects.select_related("account", "created_by").filter(pk=pk).first()
    return _credential_for(actor, row, action)


def credential_named(actor: Principal, name: str, action: Action) -> ManagementCredential:
    """Return the management credential of this name for `action`; a deleted one has none. Raises as above."""
    kept = ManagementCredential.objects.filter(deleted_at__isnull=True).select_related(
        "account", "created_by"
    )
    return _credential_for(actor, kept.filter(name=name).first(), action)


def _credential_for(
    actor: Principal, row: ManagementCredential | None, action: Action
) -> ManagementCredential:
    if row is None:
        raise requiring.NotFound
    requiring.require_seen(actor, Action.DESCRIBE_CREDENTIAL, row)
    requiring.require(actor, action, row)
    if action != Action.DESCRIBE_CREDENTIAL:
        holding.require_kept(row)
    return row


# ---------------------------------------------------------------- runs


def runs(actor: Principal, code: str) -> QuerySet[Run]:
    """The runs of a region (or of all) that `actor` may see. Raises `NotFound` or `Refused`."""
    listed = by_region.listed(actor, Action.LIST_RUNS, code)
    rows = Run.objects.select_related("secret", "instance__region", "requested_by", "version")
    if not decisions.are_all_regions(listed):
        # Not a join: the newest are read in their order, and each is looked up in the region.
        rows = rows.filter(Exists(Instance.objects.filter(pk=OuterRef("instance"), region__in=listed)))
    of_secrets = decisions.visible(actor, Action.DESCRIBE_RUN, decisions.secret_rows())
    of_instances = decisions.visible(actor, Action.DESCRIBE_RUN, decisions.instance_rows())
    if ALL is of_secrets is of_instances:
        return rows
    return rows.filter(
        Exists(Secret.objects.filter(of_secrets, pk=OuterRef("secret")))
        | Q(Exists(Instance.objects.filter(of_instances, pk=OuterRef("instance"))), secret=None)
    )


def sees_all_instances(actor: Principal, code: str) -> bool:
    """Whether `instances` leaves none of those that are registered out."""
    listed = by_region.listed(actor, Action.LIST_INSTANCES, code)
    return decisions.are_all_regions(listed) and ALL is decisions.visible(
        actor, Action.DESCRIBE_INSTANCE, decisions.instance_rows()
    )


def sees_all_runs(actor: Principal, code: str) -> bool:
    """Whether `runs` leaves none out, so that none has to be asked about."""
    listed = by_region.listed(actor, Action.LIST_RUNS, code)
    return decisions.are_all_regions(listed) and ALL is decisions.visible(
        actor, Action.DESCRIBE_RUN, decisions.secret_rows()
    ) is decisions.visible(actor, Action.DESCRIBE_RUN, decisions.instance_rows())


def run(actor: Principal, code: str, pk: UUID) -> Run:
    """Return one run to look at: who may describe its secret or instance may. Raises `NotFound`."""
    row = _RUN.first(pk)
    if row is None:
        raise requiring.NotFound
    by_region.require_within(code, row.instance.region)
    requiring.require_seen(actor, Action.DESCRIBE_RUN, row)
    return row
