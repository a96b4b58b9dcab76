"""The region that a client names; its first secret makes it where it is not there and the settings say so.

Until then it is empty, and a row of no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from console.fetching import secrets_and_keys
from console.interfaces.records import Call
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.models import Region, Secret
from secrets_app.policy import decisions, holdings, requiring

#: What a client that takes only names of this shape may call the first region.
FIRST_REGION = "local-1"


def region(name: str) -> Region | None:
    """Return the region of this name: its code, another name in the settings, or `local-1` for the first.

    Where the settings say so, any other name is one of a region that is not there yet.
    """
    kept = {row.code: row for row in holdings.every_region() if row.retired_at is None}
    if name == FIRST_REGION and name not in kept:
        return min(kept.values(), key=lambda row: (row.created_at, row.code), default=None)
    code = settings.REGION_NAMES.get(name, name)
    found = kept.get(code)
    return regions.not_yet(code) if found is None and settings.OPEN_REGIONS else found


def is_new(region: Region) -> bool:
    return region._state.adding


def secrets(call: Call) -> QuerySet[Secret]:
    """The secrets of the call's region that its caller may describe. Raises `requiring.Refused`."""
    if is_new(call.region):
        requiring.require(call.actor, Action.LIST_SECRETS)
        return Secret.objects.none()
    return secrets_and_keys.secrets(call.actor, call.region.code)


@contextmanager
def region_for(call: Call, name: str, tags: Mapping[str, str]) -> Iterator[Region]:
    """Have the region of the call be there for the block that makes this secret in it.

    If the block fails, a region that was not there before is not there after it. Raises
    `decisions.NotAllowed`: who may not make the secret makes no region.
    """
    if not is_new(call.region):
        yield call.region
        return
    decisions.require(call.actor, Action.CREATE_SECRET, decisions.new_secret(call.region, name, tags))
    with transaction.atomic(), trail.at_the_end():
        region = regions.opened(call.region, actor=call.actor)
        decisions.forget()  # what was read of the regions before
        yield region
    call.region = region
