"""The only writer of audit events.

`record` is called by the domain function that makes the change, inside its transaction and as its
last statement: a change that cannot be recorded does not commit. An event holds ids, names and
numbers, never a value.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from secrets_app.models import AuditEvent, Principal


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


@contextmanager
def bind(*, request_id: str = "", address: str | None = None, session: str = "") -> Iterator[None]:
    """Every event recorded inside the block carries this origin."""
    token = _origin.set(Origin(request_id, address, session))
    try:
        yield
    finally:
        _origin.reset(token)


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
) -> AuditEvent:
    """Append one event. `reason` is what the actor said; `details` is small and holds no value.

    Raises whatever the database raises: the caller's change must not commit without its event.
    """
    origin = _origin.get()
    arn = resource if isinstance(resource, str) else resource.arn
    return AuditEvent.objects.create(
        actor=actor,
        actor_name=actor.name if actor else "anonymous",
        action=action,
        resource=arn[:700],
        resource_id=resource_id if isinstance(resource, str) else resource.pk,
        version_id=version_id,
        outcome=outcome,
        reason=reason[:500],
        details=dict(details or {}),
        request_id=origin.request_id,
        session=origin.session,
        address=origin.address,
    )
