"""The only writer of audit events and of the head of their chain.

`record` is called by the domain function that makes the change, inside its transaction and as its
last statement: a change that cannot be recorded does not commit. An event holds ids, names and
numbers, never a value.

Each event carries a digest over all its fields and the digest of the event before it, under a key that
is not in the database. The head's row is locked from the first event of a transaction to its end. A
transaction that locks other rows after it could deadlock with one that locks them before: `at_the_end`
keeps what is recorded inside a block until the block is over.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol

from django.db import DatabaseError, OperationalError, transaction
from django.db.models.functions import Now

from secrets_app import origin, prepared
from secrets_app.audit import audit_keys, chain
from secrets_app.models import AuditEvent, AuditHead, Principal

NOBODY = "anonymous"


class NotRecorded(OperationalError):
    """The audit trail takes no event, so nothing was done."""


class Resource(Protocol):
    """Anything with an ARN and an id."""

    @property
    def arn(self) -> str: ...
    @property
    def pk(self) -> uuid.UUID: ...


_kept: ContextVar[list[AuditEvent] | None] = ContextVar("kept", default=None)


@contextmanager
def at_the_end() -> Iterator[None]:
    """Append what is recorded inside the block when it ends: `with transaction.atomic(), at_the_end():`.

    A block inside another one leaves it to the outer one. Where the block fails nothing is appended; a part
    of it that fails and is caught must not have recorded before.
    """
    if _kept.get() is not None:
        yield
        return
    token = _kept.set([])
    try:
        yield
        events = _kept.get() or []
    finally:
        _kept.reset(token)
    if events:
        append(lambda _: events)


@contextmanager
def collected() -> Iterator[list[AuditEvent]]:
    """Hand what is recorded inside the block to the caller, who owes each event to `append`."""
    events: list[AuditEvent] = []
    token = _kept.set(events)
    try:
        yield events
    finally:
        _kept.reset(token)


def append(choose: Callable[[datetime], Sequence[AuditEvent]]) -> None:
    """Append the events that `choose` returns; it is called, with the time, while the head is locked.

    No other transaction appends meanwhile, so what `choose` reads in the trail, or of a change that is
    recorded there, stays the same until the caller's transaction ends. It must wait for no row that another
    transaction may have locked. Raises `NotRecorded`.
    """
    try:
        # Without a savepoint: a caller that catches the exception cannot commit either.
        with transaction.atomic(savepoint=False):
            head, now = _held_head()
            audit_keys.require(head)
            key, sequence, mac = audit_keys.chaining(), head.sequence, head.mac
            events = choose(now)
            for event in events:
                sequence = max(sequence, event.sequence) + 1
                event.sequence, event.at = sequence, now
                event.mac = mac = chain.mac(key, event, mac)
            if events:
                _ADDED(events, beside=_MOVED.of(sequence, mac))
    except (DatabaseError, audit_keys.KeyMissing) as error:
        # Not as it came: a caller that takes an IntegrityError for a name in use would say so.
        raise NotRecorded("The audit trail accepts no event.") from error


def failed(event: AuditEvent, because: str) -> AuditEvent:
    """Return an event that is not appended yet as one of a failure, with the reason for it."""
    event.outcome, event.value_mark, event.details = (
        AuditEvent.Outcome.FAILED,
        "",
        {**event.details, **_plain({"because": because})},
    )
    return event


def record(
    action: str,
    resource: Resource | str,
    *,
    actor: Principal | None,
    outcome: str = AuditEvent.Outcome.SUCCEEDED,
    resource_id: uuid.UUID | None = None,
    version_id: str = "",
    reason: str = "",
    details: Mapping[str, object] | None = None,
    decision: str = "",
    value_mark: str = "",
    beyond: int = 0,
) -> None:
    """Append one event. `reason` is what the actor said; `details` is small and holds no value.

    `decision` says what allowed or denied it; where it is empty, what allowed it to this actor in this
    request, task or command. Its number is above `beyond`, which leaves a gap: `restores` alone gives it.
    Raises `NotRecorded`: the caller's change must not commit without its event.
    """
    where = origin.current()
    arn = resource if isinstance(resource, str) else resource.arn
    event = AuditEvent(
        sequence=beyond,
        actor=actor,
        actor_name=(actor.name if actor else NOBODY)[:80],
        action=str(action)[:64],
        resource=arn[:700],
        resource_id=resource_id if isinstance(resource, str) else resource.pk,
        version_id=version_id[:64],
        outcome=str(outcome),
        decision=(decision or _decided(actor, str(action), arn, str(outcome)))[:300],
        reason=reason[:500],
        details=_plain({**where.signed, **(details or {})}),
        request_id=where.request_id[:64],
        session=where.session[:64],
        address=where.address,
        value_mark=value_mark,
    )
    origin.note_recorded()
    kept = _kept.get()
    if kept is not None:
        kept.append(event)
    else:
        append(lambda _: [event])


def _decided(actor: Principal | None, action: str, arn: str, outcome: str) -> str:
    """What allowed this; a refusal says itself what refused it."""
    if actor is None or outcome == AuditEvent.Outcome.DENIED:
        return ""
    return origin.allowed_by(actor.pk, action, arn)


# ---------------------------------------------------------------- the chain


class _Clock(Now):
    """The database's time now, and not when its transaction or its statement began to wait."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)


def _held_head() -> tuple[AuditHead, datetime]:
    """The head, locked until the transaction ends, and the database's time once it is."""
    head = _HELD.first()
    if head is None:
        if AuditEvent.objects.exists():
            raise DatabaseError("The audit trail has events and no head.")
        AuditHead.objects.get_or_create(pk=AuditHead.ONLY, defaults={"key_name": audit_keys.name()})
        (head,) = _HELD()
    return head, head.now


_HELD: prepared.Question[Any] = prepared.Question(
    lambda: AuditHead.objects.select_for_update().annotate(now=_Clock()).order_by("pk")[:1]
)
_ADDED = prepared.Rows(AuditEvent)
_MOVED = prepared.Change(
    lambda sequence, mac: (AuditHead.objects.filter(pk=AuditHead.ONLY), {"sequence": sequence, "mac": mac})
)


# ---------------------------------------------------------------- what an event can hold


def _plain(content: object) -> Any:
    """Details as they come back from either database, so that their digest stays the same."""
    if isinstance(content, Mapping):
        return {str(key): _plain(part) for key, part in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(part) for part in content]
    if content is None or isinstance(content, bool | int):
        return content if content is None or isinstance(content, bool) else int(content)
    if isinstance(content, str):
        return str(content).replace("\0", "\N{REPLACEMENT CHARACTER}")
    raise TypeError(f"An event's details hold no {type(content).__name__}.")
