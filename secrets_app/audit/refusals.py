"""Refusals in the audit trail: the first at once, more of the same within a minute as one event with a count.

So repeated refusals cannot fill the trail, or the disk.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from secrets_app import origin
from secrets_app.audit import trail
from secrets_app.crypto import envelope
from secrets_app.models import AuditEvent, Principal, Refusals

WINDOW = timedelta(minutes=1)


def note(
    action: str,
    resource: str,
    *,
    actor: Principal | None,
    because: str = "",
    resource_id: UUID | None = None,
) -> None:
    """Record a refusal, or count it where the same was recorded within the minute.

    Raises `trail.NotRecorded`.
    """
    who, address = str(actor.pk) if actor else "", origin.current().address
    name = hashlib.sha256(envelope.name(who, str(action), resource, address or "")).hexdigest()
    with transaction.atomic(), trail.at_the_end():
        again = Refusals.objects.filter(name=name, since__gt=Now() - WINDOW)
        if again.update(count=F("count") + 1):
            return
        _close(Refusals.objects.filter(name=name))
        fields = {
            "actor": actor,
            "action": str(action)[:64],
            "resource": resource[:700],
            "resource_id": resource_id,
            "address": address,
            "since": Now(),
            "because": because[:300],
        }
        _, is_first = Refusals.objects.get_or_create(name=name, defaults=fields)
        if is_first:
            trail.record(
                action,
                resource,
                actor=actor,
                outcome=AuditEvent.Outcome.DENIED,
                resource_id=resource_id,
                decision=because,
            )
        else:  # another request with the same name was a moment faster
            Refusals.objects.filter(name=name).update(count=F("count") + 1)


def record_counted(limit: int = 500) -> int:
    """Record what was counted in minutes that are over; return how many events that made."""
    with transaction.atomic(), trail.at_the_end():
        over = Refusals.objects.filter(since__lte=Now() - WINDOW).order_by("since")
        return _close(over[:limit])


def _close(rows: QuerySet[Refusals]) -> int:
    count = 0
    closed = []
    for row in rows.select_related("actor").select_for_update(of=("self",)):
        closed.append(row.pk)
        if row.count:
            count += 1
            with origin.bind(address=row.address):
                trail.record(
                    row.action,
                    row.resource,
                    actor=row.actor,
                    outcome=AuditEvent.Outcome.DENIED,
                    resource_id=row.resource_id,
                    decision=row.because,
                    details={"more": row.count, "since": row.since.isoformat()},
                )
    Refusals.objects.filter(pk__in=closed).delete()
    return count
