"""The regions in which a principal may list rows, and the region that a request asks for."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet

from rotation.models import Instance
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.models import Principal, Region, Secret
from secrets_app.policy import decisions, requiring

Row = TypeVar("Row", Secret, Instance)
ALL_REGIONS = "all"
_OF_A_REGION = (
    Action.LIST_SECRETS,
    Action.LIST_INSTANCES,
    Action.LIST_RUNS,
    Action.REGISTER_INSTANCE,
)


def region(code: str) -> Region | None:
    """Return the region of this code, None for all of them. Raises `NotFound`."""
    if code == ALL_REGIONS:
        return None
    # Each part of a page asks for it; all of them were read for this request.
    for row in decisions.every_region():
        if row.code == code and row.retired_at is None:
            return row
    raise requiring.NotFound


def described(actor: Principal) -> QuerySet[Region]:
    """Every region, retired ones too, for one who may see the settings. Raises `Refused`."""
    requiring.require(actor, Action.DESCRIBE_SETTINGS)
    return Region.objects.select_related("account")


def to_change(actor: Principal, pk: UUID, action: Action) -> Region:
    """Return one region for `action`. Raises `NotFound`, `Refused`, or `regions.Retired`."""
    row = described(actor).filter(pk=pk).first()
    if row is None:
        raise requiring.NotFound
    requiring.require(actor, action, regions.named(row))
    regions.require_kept(row)
    return row


def listed(actor: Principal, action: Action, code: str) -> list[Region]:
    """The regions whose list may be shown, of the one that is asked for or of all.

    Raises `NotFound` or `Refused`.
    """
    here = region(code)
    if here is not None:
        requiring.require(actor, action, here)
        return [here]
    requiring.require(actor, action)
    return decisions.allowed_regions(actor, action)


def shown(actor: Principal | None) -> list[Region]:
    """The regions whose name is shown to `actor`: those with a list that they may open, or may add to."""
    return [
        row
        for row in decisions.every_region()
        if row.retired_at is None and any(requiring.may(actor, action, row) for action in _OF_A_REGION)
    ]


def within(rows: QuerySet[Row], listed: list[Region]) -> QuerySet[Row]:
    """Leave out the comparison where every region is listed: an index on names then serves the page."""
    return rows if decisions.are_all_regions(listed) else rows.filter(region__in=listed)


def require_within(code: str, where: Region) -> None:
    """Return if a thing of this region is looked for in the right place. Raises `NotFound`."""
    if code not in {where.code, ALL_REGIONS}:
        raise requiring.NotFound
