"""Follow the audit trail and line up what is to be told. The only writer of the cursor.

The trail has an event once its change has committed, in the order of its sequence and without a gap that is
filled later: nothing is told of what was rolled back, and no event is passed over. The cursor moves in the
transaction that lines up the deliveries, so a process that dies between two loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from console.models import NoticeCursor, Subscription
from console.notices import deliveries, kinds
from console.notices.kinds import Kind
from console.siem import records
from secrets_app import seals
from secrets_app.models import AuditEvent, AuditHead, Secret, Tag
from secrets_app.policy import ram_patterns

CHUNK = 500


@dataclass(frozen=True)
class _Facts:
    """What subscriptions choose by."""

    event: AuditEvent
    kinds: list[Kind]
    region: str
    name: str
    tags: frozenset[tuple[str, str]]


def follow() -> int:
    """Line up the deliveries of the next events; return how many events were looked at, at most `CHUNK`."""
    with transaction.atomic():
        cursor = _held()
        events = list(AuditEvent.objects.filter(sequence__gt=cursor.sequence).order_by("sequence")[:CHUNK])
        if not events:
            return 0
        _line_up(events)
        NoticeCursor.objects.filter(pk=cursor.pk).update(sequence=events[-1].sequence)
    return len(events)


def _held() -> NoticeCursor:
    """The cursor, locked until the transaction ends. The first one begins at the newest event."""
    rows = NoticeCursor.objects.select_for_update()
    cursor = rows.first()
    if cursor is None:
        head = AuditHead.objects.first()
        begin = {"sequence": head.sequence if head else 0}
        NoticeCursor.objects.get_or_create(pk=NoticeCursor.ONLY, defaults=begin)
        cursor = rows.get()
    return cursor


def _line_up(events: Sequence[AuditEvent]) -> None:
    told = [(event, of) for event in events if (of := kinds.of(event))]
    if not told:
        return
    subscriptions = [row for row in Subscription.objects.filter(is_enabled=True) if seals.holds(row)]
    if not subscriptions:
        return
    facts = [_facts(event, of) for event, of in told]
    deliveries.line_up(
        (row, fact.event, kind)
        for fact in facts
        for row in subscriptions
        if (kind := kinds.chosen(fact.kinds, row.events)) and _is_about(row, fact)
    )


def _facts(event: AuditEvent, of: list[Kind]) -> _Facts:
    region, name = records.place(event)
    tags: frozenset[tuple[str, str]] = frozenset()
    if event.resource_id:
        tags = frozenset(Tag.objects.filter(secret=event.resource_id).values_list("key", "value"))
    return _Facts(event, of, region, name, tags)


def _is_about(row: Subscription, fact: _Facts) -> bool:
    """Whether the subscription chooses this event. One without a region or name fits no choice of them."""
    if row.regions and fact.region not in row.regions:
        return False
    if row.name_pattern and not ram_patterns.matches(row.name_pattern, fact.name):
        return False
    if not row.tag_key:
        return True
    return any(k == row.tag_key and (not row.tag_value or v == row.tag_value) for k, v in fact.tags)


def secret_of(event: AuditEvent) -> Secret | None:
    """The secret that an event is about, a purged one too."""
    if event.resource_id is None:
        return None
    rows = Secret.objects.select_related("account", "region", "managed__instance")
    return rows.filter(pk=event.resource_id).first()
