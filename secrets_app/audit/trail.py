"""The only writer of audit events and of the head of their chain.

`record` is called by the domain function that makes the change, inside its transaction and as its
last statement: a change that cannot be recorded does not commit. An event holds ids, names and
numbers, never a value.

Each event carries a digest over all its fields and the digest of the event before it, under a key that
is not in the database. The head's row is locked from the first event of a transaction to its end, so
whoever locks other rows after it could meet somebody who did it the other way round: `at_the_end` keeps
what is recorded inside a block until the block is over.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.db import DatabaseError, OperationalError, transaction
from django.db.models.functions import Now

from secrets_app.audit import audit_keys, chain
from secrets_app.models import AuditEvent, AuditHead, Principal

NOBODY = "anonymous"
_DECISIONS_KEPT = 64


class NotRecorded(OperationalError):
    """The audit trail takes no event, so nothing was done."""


@dataclass(frozen=True)
class Origin:
    """Where the work that is going on came from."""

    request_id: str = ""
    address: str | None = None  # an IP address
    session: str = ""  # a hash of the session key


NOWHERE = Origin()


class Resource(Protocol):
    """Anything with an ARN and an id."""

    @property
    def arn(self) -> str: ...
    @property
    def pk(self) -> uuid.UUID: ...


_origin: ContextVar[Origin] = ContextVar("origin", default=NOWHERE)
_kept: ContextVar[list[AuditEvent] | None] = ContextVar("kept", default=None)
_decisions: ContextVar[OrderedDict[tuple[str, str, str], str] | None] = ContextVar("decisions", default=None)


@contextmanager
def bind(*, request_id: str = "", address: str | None = None, session: str = "") -> Iterator[None]:
    """Every event recorded inside the block carries this origin."""
    token = _origin.set(Origin(request_id, _plain_address(address), session))
    decided = _decisions.set(OrderedDict())
    try:
        yield
    finally:
        _decisions.reset(decided)
        _origin.reset(token)


def origin() -> Origin:
    """Where the work that is going on came from."""
    return _origin.get()


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
        _append_all(events)


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

    `decision` says what allowed or denied it; where it is empty, what `policies` decided last for this actor,
    action and resource. Its number is above `beyond`, which leaves a gap: `restores` alone gives it.
    Raises `NotRecorded`: the caller's change must not commit without its event.
    """
    where = _origin.get()
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
        decision=(decision or _decided(actor, str(action), arn))[:300],
        reason=reason[:500],
        details=_plain(dict(details or {})),
        request_id=where.request_id[:64],
        session=where.session[:64],
        address=where.address,
        value_mark=value_mark,
    )
    kept = _kept.get()
    if kept is not None:
        kept.append(event)
    else:
        _append_all([event])


def note_decision(actor: Principal, action: str, resource: str, because: str) -> None:
    """Remember what `policies` decided, for the event that follows from it."""
    decisions = _decisions.get()
    if decisions is None:
        decisions = OrderedDict()
        _decisions.set(decisions)
    decisions[(str(actor.pk), action, resource)] = because
    while len(decisions) > _DECISIONS_KEPT:
        decisions.popitem(last=False)


def _decided(actor: Principal | None, action: str, arn: str) -> str:
    """What was decided on this resource, or on the container that it was made in."""
    decisions = _decisions.get()
    if actor is None or not decisions:
        return ""
    who, container = str(actor.pk), arn.partition("/")[0]
    return decisions.get((who, action, arn)) or decisions.get((who, action, container)) or ""


# ---------------------------------------------------------------- the chain


class _Clock(Now):
    """The database's time now, and not when its transaction or its statement began to wait."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)


def _append_all(events: list[AuditEvent]) -> None:
    try:
        # Without a savepoint: whoever catches the exception cannot commit either.
        with transaction.atomic(savepoint=False):
            head, now = _held_head()
            audit_keys.require(head)
            key, sequence, mac = audit_keys.chaining(), head.sequence, head.mac
            for event in events:
                sequence = max(sequence, event.sequence) + 1
                event.sequence, event.at = sequence, now
                event.mac = mac = chain.mac(key, event, mac)
            AuditEvent.objects.bulk_create(events)
            AuditHead.objects.filter(pk=head.pk).update(sequence=sequence, mac=mac)
    except (DatabaseError, audit_keys.KeyMissing) as error:
        # Not as it came: a caller that takes an IntegrityError for a name in use would say so.
        raise NotRecorded("The audit trail accepts no event.") from error


def _held_head() -> tuple[AuditHead, datetime]:
    """The head, locked until the transaction ends, and the database's time once it is."""
    rows = AuditHead.objects.select_for_update().annotate(now=_Clock())
    head = rows.first()
    if head is None:
        if AuditEvent.objects.exists():
            raise DatabaseError("The audit trail has events and no head.")
        AuditHead.objects.get_or_create(pk=AuditHead.ONLY, defaults={"key_name": audit_keys.name()})
        head = rows.get()
    return head, head.now


# ---------------------------------------------------------------- what an event can hold


def _plain_address(address: str | None) -> str | None:
    """An address as both databases keep it; what is none is left out."""
    try:
        return str(ipaddress.ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None


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
