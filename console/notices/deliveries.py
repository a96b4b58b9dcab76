"""The only writer of deliveries: what waits to be told, what was told, and what was never accepted.

A delivery is retried with growing pauses for a day. Of one resource, deliveries of one subscription keep the
order of the trail: a later one waits for an earlier one to be accepted, or to be given up.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from console.models import Delivery, Subscription
from console.notices import subscriptions
from console.notices.kinds import Kind
from console.siem import records
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Principal

State = Delivery.State
TRIED_FOR: Final = timedelta(hours=24)
KEPT_FOR: Final = timedelta(days=30)
AT_ONCE: Final = 200  # of one subscription, looked at in one pass
#: Seconds after each failure; the last one repeats.
PAUSES: Final = (10, 30, 60, 120, 300, 600, 1800, 3600)
_SPACE: Final = uuid.UUID("6d2c1f0e-4f55-5f3a-9a3e-2f0b7c1d9e11")


class StillWaiting(DomainError):
    """This delivery has not ended yet: it is sent automatically."""

    code = "delivery_waits"


def name_of(subscription: Subscription, event: AuditEvent) -> uuid.UUID:
    """The id of a delivery: the same for one event and subscription, also after a restore of the database."""
    return uuid.uuid5(_SPACE, f"{subscription.pk}:{records.uid(event)}")


def line_up(wanted: Iterable[tuple[Subscription, AuditEvent, Kind]]) -> None:
    """Have these be sent; one that is there already stays as it is."""
    until = timezone.now() + TRIED_FOR
    rows = [
        Delivery(
            id=name_of(subscription, event),
            subscription=subscription,
            sequence=event.sequence,
            kind=kind.name,
            about=event.resource_id,
            give_up_at=until + (subscription.digest or timedelta(0)),
        )
        for subscription, event, kind in wanted
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


def subscriptions_due(now: datetime) -> list[Subscription]:
    """The subscriptions for which something waits and that are not paused after a failure."""
    waiting = Delivery.objects.filter(state=State.WAITING, due_at__lte=now).values("subscription")
    rows = Subscription.objects.filter(pk__in=waiting, is_enabled=True).exclude(paused_until__gt=now)
    return list(rows.select_related("subscriber__user", "sealed"))


def in_order(subscription: Subscription, now: datetime) -> list[Delivery]:
    """What may be sent now, in the order of the trail: none whose resource has an earlier one that waits."""
    waiting = Delivery.objects.filter(subscription=subscription, state=State.WAITING)
    earlier = waiting.filter(about=OuterRef("about"), sequence__lt=OuterRef("sequence"), due_at__gt=now)
    return list(waiting.filter(~Exists(earlier), due_at__lte=now).order_by("sequence")[:AT_ONCE])


def next_digest(subscription: Subscription, now: datetime) -> list[Delivery]:
    """The deliveries of the next digest; none while its time has not come.

    What was put together once stays together, so a repeated message is the same one.
    """
    rows = Delivery.objects.filter(subscription=subscription, state=State.WAITING).order_by("sequence")
    begun = rows.filter(batch__isnull=False).first()
    if begun is not None:
        together = list(rows.filter(batch=begun.batch))
        return together if all(row.due_at <= now for row in together) else []
    first = rows.first()
    if first is None or first.created_at + (subscription.digest or timedelta(0)) > now:
        return []
    chosen, batch = list(rows[:AT_ONCE]), uuid.uuid4()
    Delivery.objects.filter(pk__in=[row.pk for row in chosen], batch__isnull=True).update(batch=batch)
    return list(rows.filter(batch=batch))


def note_sent(rows: Sequence[Delivery], answer: int) -> None:
    _end(rows, State.SENT, answer=answer, problem="", attempts=F("attempts") + 1)


def note_withheld(rows: Sequence[Delivery], problem: str) -> None:
    _end(rows, State.WITHHELD, problem=problem[:300])


def note_failed(rows: Sequence[Delivery], now: datetime, answer: int, problem: str) -> None:
    """Put these off, or give them up where their day is over."""
    late = [row for row in rows if row.give_up_at <= now]
    _end(late, State.FAILED, answer=answer, problem=problem[:300], attempts=F("attempts") + 1)
    for row in rows:
        if row.give_up_at > now:
            due = min(now + pause(row.attempts), row.give_up_at)
            _still(row).update(due_at=due, answer=answer, problem=problem[:300], attempts=F("attempts") + 1)


def pause(failures: int) -> timedelta:
    """How long to wait after so many earlier failures."""
    return timedelta(seconds=PAUSES[min(failures, len(PAUSES) - 1)])


def send_again(row: Delivery, *, actor: Principal) -> None:
    """Have one that has ended be sent again, with the same id. Raises `StillWaiting`."""
    now = timezone.now()
    rows = Delivery.objects.filter(pk=row.pk).exclude(state=State.WAITING)
    if not rows.update(
        state=State.WAITING, due_at=now, give_up_at=now + TRIED_FOR, ended_at=None, batch=None
    ):
        raise StillWaiting
    subscriptions.try_again(row.subscription)
    subscriptions.note_managed(row.subscription, actor=actor, did="send again", delivery=str(row.pk))


def of(subscription: Subscription) -> QuerySet[Delivery]:
    return Delivery.objects.filter(subscription=subscription)


def prune() -> int:
    """Delete what ended long ago."""
    return Delivery.objects.filter(ended_at__lt=timezone.now() - KEPT_FOR).delete()[0]


def _end(rows: Sequence[Delivery], state: str, **columns: object) -> None:
    for row in rows:
        _still(row).update(state=state, ended_at=timezone.now(), **columns)


def _still(row: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=row.pk, state=State.WAITING)
