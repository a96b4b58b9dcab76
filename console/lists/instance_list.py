"""What the list of instances is narrowed to and sorted by, and what it shows beside each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import (
    Count,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    prefetch_related_objects,
)
from django.db.models.functions import Coalesce

from console.lists import texts
from console.lists.paging import By, Part
from rotation.models import Instance, ManagedAccount, Run
from secrets_app import prepared
from secrets_app.models import Secret

#: Columns of the table itself; see `sorts`.
_OWN: dict[str, str | By] = {
    "id": "instance_id",
    "name": "name",
    "region": "region__code",
    "os": "os",
    "address": "address",
    "contact": "last_contact_at",
    "status": "state",
}
SORTS = (*_OWN, "secrets")


def sorts(seen: QuerySet[Secret], *, sees_all: bool = False, is_whole: bool = False) -> dict[str, str | By]:
    """What the list can be sorted by; the number of secrets is that of those its reader has `seen`.

    `is_whole` if the list has every instance that is registered: no other one has an account.
    """
    managed = _managed(seen, sees_all=sees_all)

    def ordered(rows: QuerySet[Instance], sign: str) -> list[Part]:
        # Counted at once, in an index of accounts: to count those of each instance takes a look for each.
        # To join all to the instances and count then takes longer than both questions do.
        none = rows.filter(~Exists(managed.filter(instance=OuterRef("pk"))))
        of_these = managed if is_whole else managed.filter(instance__in=rows.order_by().values("pk"))
        counted = of_these.values("instance").annotate(count=Count("*"))
        if sign:
            return [Part(counted.order_by("-count", "-instance"), "instance"), Part(none.order_by("-pk"))]
        return [Part(none.order_by("pk")), Part(counted.order_by("count", "instance"), "instance")]

    return {**_OWN, "secrets": By("", ordered=ordered)}


def with_figures(
    rows: QuerySet[Instance], seen: QuerySet[Secret], *, sees_all: bool = False
) -> QuerySet[Instance]:
    """Instances with what a list shows beside each; of the secrets on it those that its reader has `seen`."""
    # Counted by a subquery: a join and a group would be made for every instance, and not for one page.
    managed = _managed(seen, sees_all=sees_all).filter(instance=OuterRef("pk"))
    counted = managed.values("instance").annotate(count=Count("pk")).values("count")
    return rows.annotate(
        secret_count=Coalesce(Subquery(counted), 0),
        sees_own_login=Exists(seen.filter(pk=OuterRef("own_login"))),
        scanned_at=_last_scan(),
    ).prefetch_related("host_keys")


def reader(seen: QuerySet[Secret], *, sees_all: bool) -> Callable[[list[UUID]], Iterable[Instance]]:
    """What reads the instances of some keys, with what a row of the list shows; see `with_figures`."""

    def read(keys: list[UUID]) -> Iterable[Instance]:
        if not sees_all:
            return with_figures(_joined(keys), seen)
        rows = _SEEN_WHOLE(keys)
        prefetch_related_objects(rows, "host_keys")
        return rows

    return read


def _joined(keys: Sequence[UUID]) -> QuerySet[Instance]:
    return Instance.objects.filter(pk__in=keys).select_related(
        "region", "account", "credential", "own_login__managed"
    )


#: For those from whom no secret is hidden.
_SEEN_WHOLE: prepared.Several[Instance] = prepared.Several(
    lambda keys: with_figures(_joined(keys), Secret.objects.filter(purged_at__isnull=True), sees_all=True)
)


def with_scan(rows: QuerySet[Instance]) -> QuerySet[Instance]:
    """Instances with their host keys, and when these were read last."""
    return rows.annotate(scanned_at=_last_scan()).prefetch_related("host_keys")


def _managed(seen: QuerySet[Secret], *, sees_all: bool) -> QuerySet[ManagedAccount]:
    """The accounts of the secrets that were seen."""
    managed = ManagedAccount.objects.filter(released_at=None).order_by()
    if sees_all:  # an account that is not released has a secret that is not purged
        return managed
    return managed.filter(Exists(seen.filter(pk=OuterRef("secret"))))


def _last_scan() -> Subquery:
    """When the newest scan that read keys began."""
    scans = Run.objects.filter(instance=OuterRef("pk"), kind=Run.Kind.SCAN, outcome=Run.Outcome.SUCCEEDED)
    return Subquery(scans.order_by("-created_at").values("started_at")[:1])


def narrowed(rows: QuerySet[Instance], chosen: dict[str, Any]) -> QuerySet[Instance]:
    if text := chosen.get("q"):
        fields = ("name", "address", "instance_id")
        if len(text) < texts.PARTS:
            parts = (texts.has(field, text) for field in fields)
        else:
            parts = (Q(**{f"{field}__icontains": text}) for field in fields)
        rows = rows.filter(reduce(or_, parts))
    if "status" not in chosen:
        return rows
    # The retired ones are there only where the filter names them.
    return rows.filter(Q(state__in=chosen["status"], retired_at=None) | Q(retired_at__isnull=False))
