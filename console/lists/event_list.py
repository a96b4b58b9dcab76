"""What the list of events is narrowed to, and its pages: by sequence, so that none costs more than another.

A part of an action is looked up among the actions that there are. A part of a resource is in no index: a page
looks through so many events and not through all, and the page after it continues there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from heapq import merge
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import QueryDict

from console.lists import paging, texts
from secrets_app.audit import named
from secrets_app.models import AuditEvent

BEFORE_ALL = -1  # of no event: the first one has 1
LOOKED_THROUGH = 10_000  # events, for one page of those with a part of a resource
MOST_ACTIONS = 40  # read one by one; more than these are most events, and a page of them is soon full


@dataclass(frozen=True)
class Events:
    """Events under a filter."""

    rows: QuerySet[AuditEvent]
    actions: tuple[str, ...] = ()  # those of these only, each by its index; none: of any
    is_looked_through: bool = False

    @property
    def every(self) -> QuerySet[AuditEvent]:
        """All of them, in no parts."""
        if not self.actions:
            return self.rows
        # No index is used for such an expression: events are read in their order, until there are enough.
        return self.rows.alias(action_read=Coalesce("action", "action")).filter(action_read__in=self.actions)

    def parts(self) -> list[QuerySet[AuditEvent]]:
        """Together all of them. An index of one action has its events in order; one of several has not."""
        if 0 < len(self.actions) <= MOST_ACTIONS:
            return [self.rows.filter(action=action) for action in self.actions]
        return [self.every]


@dataclass(frozen=True)
class Page:
    """Some events, newest first, and where the ones beside them begin."""

    rows: list[AuditEvent]
    older: int | None  # events before this one
    newer: int | None  # events after this one
    total: int
    is_partial: bool = False  # not all events were looked through
    is_upwards: bool = False  # it was asked for by the event before it

    @property
    def onward(self) -> tuple[str, int] | None:
        """The parameter and the event by which to look further, if nothing was found so far."""
        if self.rows or not self.is_partial:
            return None
        if self.is_upwards:
            return ("after", self.newer) if self.newer is not None else None
        return ("before", self.older) if self.older is not None else None

    @property
    def count_text(self) -> str:
        if self.is_partial:
            return f"{self.total:,}+ events"
        if self.total > paging.COUNT_CAP:
            return f"{paging.COUNT_CAP:,}+ events"
        return f"{self.total:,} event{'' if self.total == 1 else 's'}"


def narrowed(chosen: dict[str, Any]) -> Events:
    """The events that a filter leaves."""
    lookups = {
        "actor": "actor_name",
        "outcome": "outcome__in",
        "address": "address",
        "since": "at__gte",
        "until": "at__lt",
    }
    if "until" in chosen:  # the field has no seconds: it means the whole minute
        chosen = chosen | {"until": chosen["until"] + timedelta(minutes=1)}
    fields = {lookups[name]: value for name, value in chosen.items() if name in lookups}
    rows = AuditEvent.objects.filter(**fields)
    if text := chosen.get("resource", ""):
        rows = rows.filter(texts.has("resource", text))
    actions: tuple[str, ...] = ()
    if text := chosen.get("action", "").lower():
        every = named.actions()
        found = tuple(action for action in every if text in action.lower())
        if not found:
            return Events(rows.none())
        actions = found if len(found) < len(every) else ()
    return Events(rows, actions, is_looked_through="resource" in chosen)


def page(events: Events, query: QueryDict, size: int | None = None) -> Page:
    """The events before or after the one that the URL names.

    Before the first event or after the last one, the page that is nearest.
    """
    before, after = (_number(query.get(name, "")) for name in ("before", "after"))
    size = size or paging.PAGE_ROWS
    if events.is_looked_through:
        return _looked_through(events, size, before, after)
    shown, has_older, has_newer = _read(events, size, before, after)
    if not shown and (before is not None or after is not None):
        before, after = None, BEFORE_ALL if after is None else None
        shown, has_older, has_newer = _read(events, size, before, after)
    # A first page that is not full has shown how many there are: a search for a rare word runs once.
    is_whole = before is None and after is None and not has_older
    return Page(
        shown,
        older=shown[-1].sequence if shown and has_older else None,
        newer=shown[0].sequence if shown and has_newer else None,
        total=len(shown) if is_whole else _count(events),
    )


def _read(
    events: Events, size: int, before: int | None, after: int | None
) -> tuple[list[AuditEvent], bool, bool]:
    """One page, newest first, and whether there are older and newer events."""
    parts = events.parts()
    if after is not None:
        found = _first([rows.filter(sequence__gt=after) for rows in parts], size + 1, is_up=True)
        return found[:size][::-1], after != BEFORE_ALL, len(found) > size
    if before is not None:
        parts = [rows.filter(sequence__lt=before) for rows in parts]
    found = _first(parts, size + 1)
    return found[:size], len(found) > size, before is not None


def _first(parts: list[QuerySet[AuditEvent]], count: int, *, is_up: bool = False) -> list[AuditEvent]:
    """The first so many of these together: the newest, or upwards the oldest."""
    order = "sequence" if is_up else "-sequence"
    if len(parts) == 1:
        return list(parts[0].order_by(order)[:count])
    keys = [list(rows.order_by(order).values_list("sequence", flat=True)[:count]) for rows in parts]
    wanted = list(islice(merge(*keys, reverse=not is_up), count))
    return list(AuditEvent.objects.filter(sequence__in=wanted).order_by(order))


def _count(events: Events) -> int:
    """How many there are, counted a little further than a list says."""
    total = 0
    for rows in events.parts():
        total += rows.order_by().values("pk")[: paging.COUNT_CAP + 1 - total].count()
        if total > paging.COUNT_CAP:
            break
    return total


def _looked_through(events: Events, size: int, before: int | None, after: int | None) -> Page:
    """A page out of so many events: with fewer matches than a page has, the next one continues there."""
    newest = AuditEvent.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    rows = events.every
    if after is not None:
        high = min(max(after, 0) + LOOKED_THROUGH, newest)
        found = list(rows.filter(sequence__gt=after, sequence__lte=high).order_by("sequence")[: size + 1])
        shown, is_full = found[:size][::-1], len(found) > size
        newer = shown[0].sequence if is_full else high if high < newest else None
        older = (shown[-1].sequence if shown else min(after, newest) + 1) if after > 0 else None
        return Page(shown, older, newer, len(shown), is_partial=True, is_upwards=True)
    top = min(before, newest + 1) if before is not None else newest + 1
    low = max(top - LOOKED_THROUGH, 1)
    found = list(rows.filter(sequence__lt=top, sequence__gte=low).order_by("-sequence")[: size + 1])
    shown, is_full = found[:size], len(found) > size
    older = shown[-1].sequence if is_full else low if low > 1 else None
    newer = (shown[0].sequence if shown else top - 1) if top <= newest else None
    return Page(shown, older, newer, len(shown), is_partial=older is not None or newer is not None)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None
