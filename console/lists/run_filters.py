"""What the list of runs is narrowed to and sorted by."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from console.forms.rotations import rotations as forms
from rotation.models import Instance, Run
from secrets_app.models import Principal, Secret

SORTS = {
    "started": "created_at",
    "secret": "secret__name",
    "instance": "instance__name",
    "kind": "kind",
    "trigger": "trigger",
    "by": "requested_by__name",
    "outcome": "outcome",
    "attempts": "attempts",
}


def narrowed(rows: QuerySet[Run], chosen: dict[str, Any]) -> QuerySet[Run]:
    if text := chosen.get("q"):
        rows = rows.filter(
            Q(secret__in=Secret.objects.filter(name__icontains=text).order_by().values("pk"))
            | Q(instance__in=Instance.objects.filter(name__icontains=text).order_by().values("pk"))
            | Q(requested_by__in=Principal.objects.filter(name__icontains=text).values("pk"))
        )
    if kind := chosen.get("kind"):
        rows = rows.filter(kind__in=kind)
    if trigger := chosen.get("trigger"):
        rows = rows.filter(trigger__in=trigger)
    if instance := chosen.get("instance"):
        rows = rows.filter(Q(instance__name__iexact=instance) | Q(instance__instance_id__iexact=instance))
    if since := chosen.get("since"):
        rows = rows.filter(created_at__gte=midnight(since))
    if until := chosen.get("until"):
        rows = rows.filter(created_at__lt=midnight(until + timedelta(days=1)))
    outcomes = chosen.get("outcome")
    return rows.filter(_ended(outcomes)) if outcomes else rows


def _ended(outcomes: list[str]) -> Q:
    """The runs that ended like this; one that is under way has no outcome."""
    known = [outcome for outcome in outcomes if outcome != forms.ACTIVE]
    ended = Q(outcome__in=known) if known else Q()
    return ended | Q(state__in=Run.ACTIVE) if forms.ACTIVE in outcomes else ended


def midnight(day: date) -> datetime:
    """When this day begins in the reader's zone."""
    return timezone.make_aware(datetime.combine(day, time.min))
