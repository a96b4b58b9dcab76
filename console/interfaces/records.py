"""The event of a call that no function of the domain has recorded: a look, a repetition, a failure."""

from __future__ import annotations

from typing import Protocol

from secrets_app import actions, keyring
from secrets_app.actions import Kind
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Principal, Region, Secret
from secrets_app.secrets import read_limits


class Call(Protocol):
    """What an event says of a call, by whichever interface it came."""

    operation: str
    actor: Principal
    region: Region
    about: Secret | None


def done(call: Call, action: str) -> None:
    """Record a call that was answered. Raises `trail.NotRecorded`."""
    _record(call, action, AuditEvent.Outcome.SUCCEEDED)


def failed(call: Call, action: str, error: DomainError, code: str) -> None:
    """Record a call that was refused for another reason than a right, under the code of its interface.

    Raises `trail.NotRecorded`.
    """
    if not isinstance(error, keyring.KeyUnusable | read_limits.TooOften):  # which a read has recorded
        _record(call, action, AuditEvent.Outcome.FAILED, code=code)


def _record(call: Call, action: str, outcome: str, **details: str) -> None:
    trail.record(
        action,
        _about(call),
        actor=call.actor,
        outcome=outcome,
        resource_id=call.about.pk if call.about else None,
        details={"operation": call.operation, **details},
    )


def _about(call: Call) -> str:
    """What the event of a call is about. Never what was sent for it: that may be a value, by mistake."""
    if call.about is not None:
        return call.about.arn
    return actions.arn(Kind.SECRET, "", account=call.region.account.number, region=call.region.code)
