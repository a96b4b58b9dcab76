"""What the list of runs is narrowed to and sorted by."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from console.forms.rotations import rotations as forms
from console.lists import expected, texts
from console.lists.paging import By
from rotation.models import Instance, Run
from secrets_app import prepared
from secrets_app.models import Principal, Secret

MOST_REQUESTERS = 30


def _by_requester(rows: QuerySet[Run]) -> list[QuerySet[Run]] | None:
    """The runs of each who has requested any, by name; None where there are many of them.

    One has most of the runs. To sort those by name is to read them all.
    """
    # A value and not Exists, for which PostgreSQL would read every run; a range and no equality, for
    # which SQLite would, of a user without any.
    by = Run.objects.filter(requested_by__gte=OuterRef("pk"), requested_by__lte=OuterRef("pk"))
    asked = Subquery(by.order_by().values("pk")[:1])
    those = Principal.objects.alias(asked=asked).filter(asked__isnull=False).order_by("name", "pk")
    people = list(those[: MOST_REQUESTERS + 1])
    if len(people) > MOST_REQUESTERS:
        return None
    return [rows.filter(requested_by=one) for one in people] or [rows]


_NEWEST = ("created_at", "pk")
SORTS: dict[str, str | By] = {
    "started": "created_at",
    "secret": By("secret__name", ("secret_id", *_NEWEST), is_joined=True, without=Q(secret__isnull=True)),
    "instance": By("instance__name", ("instance_id", *_NEWEST)),
    "kind": By("kind", _NEWEST, is_there="created_at"),
    "trigger": By("trigger", _NEWEST, is_there="created_at"),
    "by": By("requested_by__name", _NEWEST, groups=_by_requester),
    "outcome": By("outcome", _NEWEST, is_there="created_at"),
    "attempts": By("attempts", _NEWEST, is_there="created_at"),
}


#: The runs of these keys, for any reader, with what a row of the list shows.
shown: prepared.Several[Run] = prepared.Several(
    lambda keys: Run.objects.filter(pk__in=keys).select_related(
        "secret", "instance__region", "requested_by", "version"
    )
)


def narrowed(rows: QuerySet[Run], chosen: dict[str, Any], *, is_short: bool = False) -> QuerySet[Run]:
    """The runs that a filter leaves; `is_short` if a hundred of them are read at most."""
    if text := chosen.get("q"):
        rows = _about(rows, text, is_short=is_short)
    if any(chosen.get(name) for name in ("kind", "trigger", "outcome")):
        rows = rows.filter(created_at__isnull=False)  # their indexes say so: see `paging.By`
    if kind := chosen.get("kind"):
        rows = rows.filter(kind__in=kind)
    if trigger := chosen.get("trigger"):
        rows = rows.filter(trigger__in=trigger)
    if instance := chosen.get("instance"):
        called = Q(name__iexact=instance) | Q(instance_id__iexact=instance)
        rows = rows.filter(instance__in=list(_keys(Instance.objects.filter(called))))
    if since := chosen.get("since"):
        rows = rows.filter(created_at__gte=midnight(since))
    if until := chosen.get("until"):
        rows = rows.filter(created_at__lt=midnight(until + timedelta(days=1)))
    outcomes = chosen.get("outcome")
    return rows.filter(_ended(outcomes)) if outcomes else rows


#: So many things have few enough runs to read all of them; of more, the newest runs are read until there are
#: enough that fit. An instance has several secrets, and a user asks for many runs.
MOST_NAMED = {"secret": 2_000, "instance": 200, "requested_by": 200}
_MOST_REQUESTED = 20_000


def _about(rows: QuerySet[Run], text: str, *, is_short: bool) -> QuerySet[Run]:
    """The runs whose secret, instance or requester is called like this."""
    named: dict[str, QuerySet[Any]] = {
        "secret": Secret.objects.filter(name__icontains=text),
        "instance": Instance.objects.filter(name__icontains=text),
        "requested_by": Principal.objects.filter(name__icontains=text),
    }
    # Of two letters no index says quickly what is called like this; that many are, the statistics say.
    if expected.number(_keys(named["secret"])) <= expected.SURELY * MOST_NAMED["secret"]:
        found = {name: list(_keys(things)[: MOST_NAMED[name] + 1]) for name, things in named.items()}
        if not any(found.values()):
            return rows.none()
        asked = Run.objects.filter(requested_by__in=found["requested_by"]).order_by().values("pk")
        if (
            all(len(keys) <= MOST_NAMED[name] for name, keys in found.items())
            and len(asked[: _MOST_REQUESTED + 1]) <= _MOST_REQUESTED
        ):
            few = (Q(**{f"{name}__in": keys}) for name, keys in found.items() if keys)
            return rows.filter(reduce(or_, few))
    if is_short:  # there are so many that the newest runs have some: those few are asked about one by one
        each = {
            f"{name}_called": Subquery(things.filter(pk=OuterRef(name)).order_by().values("pk")[:1])
            for name, things in named.items()
        }
        return rows.alias(**each).filter(reduce(or_, (Q(**{f"{name}__isnull": False}) for name in each)))
    if connection.vendor == "postgresql" and len(text) >= texts.PARTS:
        # A column that the index of names has not: reading that whole index looks cheaper than those with the
        # parts, and takes three times as long.
        named["secret"] = named["secret"].filter(created_at__isnull=False)
    # No index is used for such an expression: the rows are read in the order of the list.
    of = {f"{name}_read": Coalesce(f"{name}_id", f"{name}_id") for name in named}
    return rows.alias(**of).filter(
        reduce(or_, (Q(**{f"{name}_read__in": _keys(things)}) for name, things in named.items()))
    )


def _keys(things: QuerySet[Any]) -> QuerySet[Any, Any]:
    return things.order_by().values_list("pk", flat=True)


MOST_ACTIVE = 5_000


def _ended(outcomes: list[str]) -> Q:
    """The runs that ended like this; one that is under way has no outcome."""
    known = [outcome for outcome in outcomes if outcome != forms.ACTIVE]
    ended = Q(outcome__in=known) if known else Q()
    return ended | _active() if forms.ACTIVE in outcomes else ended


def _active() -> Q:
    """The runs under way: few among many, and SQLite would read from the newest on until it has a page."""
    found = list(_keys(Run.objects.active())[: MOST_ACTIVE + 1])
    return Q(pk__in=found) if len(found) <= MOST_ACTIVE else Q(state__in=Run.ACTIVE)


def midnight(day: date) -> datetime:
    """When this day begins in the reader's zone."""
    return timezone.make_aware(datetime.combine(day, time.min))
