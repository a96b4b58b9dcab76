"""What is told of an event, before it takes a shape: the call, and what the service itself did beside it.

Names are AWS's where an action is one of AWS Secrets Manager's, since rules of detection match them; others
are Keyturn's own. Source of names and fields: AWS CloudTrail User Guide, "CloudTrail record contents"; AWS
Secrets Manager User Guide, "Log Secrets Manager events with AWS CloudTrail".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from rotation import accounts
from rotation.models import Run
from secrets_app.actions import AWS_NAMES
from secrets_app.models import AuditEvent, Principal

CHUNK_ROWS = 500
AWS_SOURCE = "secretsmanager.amazonaws.com"
OWN_SOURCE = "keyturn"
_ARN = re.compile(
    r"acs:kms:(?P<region>[^:]*):(?P<account>[^:]*):(?P<kind>[^/:]*)(?:/(?P<name>.*))?", re.DOTALL
)
_AWS_OPERATIONS = {str(action): name.partition(":")[2] for name, action in AWS_NAMES.items()}
#: What the service does at the same time, under its own name.
_BESIDE = {
    "kms:DeleteSecret": "StartSecretVersionDelete",
    "kms:RestoreSecret": "CancelSecretVersionDelete",
}
_READS = ("Get", "List", "Describe", "Export", "Look", "Verify", "Simulate", "Check")
#: How a rotation ended, by the outcome of its run.
_ENDED = {
    Run.Outcome.SUCCEEDED: "RotationSucceeded",
    Run.Outcome.CANCELLED: "RotationCancelled",
}


@dataclass(frozen=True)
class Account:
    """The account on a host that a rotation was about."""

    username: str
    kind: str  # password or key pair
    host: str
    instance_id: str
    wire: str
    outcome: str
    code: str


@dataclass(frozen=True)
class Record:
    """One thing to tell: a call, or what Keyturn did itself."""

    uid: str
    at: datetime
    name: str
    source: str
    is_service: bool
    is_read: bool
    outcome: str  # as `AuditEvent.Outcome`
    error: str
    message: str
    actor: str
    actor_id: str
    actor_kind: str  # as `Principal.Kind`; empty where there is no actor
    access_key: str
    agent: str
    address: str
    region: str
    account: str
    resource: str  # its ARN
    resource_kind: str
    resource_name: str
    version_id: str
    request_id: str
    session: str
    reason: str
    sequence: int
    details: Mapping[str, Any]
    about: Account | None = None


def of(rows: Iterable[AuditEvent]) -> Iterator[Record]:
    """Yield what is told of these events, in their order; of some of them it is two things."""
    left = iter(rows)
    while chunk := list(islice(left, CHUNK_ROWS)):
        runs = _runs(chunk)
        for event in chunk:
            yield from _of(event, runs.get(str(event.details.get("run", ""))))


def place(event: AuditEvent) -> tuple[str, str]:
    """The region and the name of the resource of an event; empty where it has none."""
    parts = _ARN.fullmatch(event.resource)
    return (parts["region"], parts["name"] or "") if parts else ("", "")


def uid(event: AuditEvent) -> str:
    """The id of an event, the same each time it is told."""
    return _uid(event)


def _runs(events: list[AuditEvent]) -> dict[str, Run]:
    wanted = set()
    for event in events:
        try:
            wanted.add(uuid.UUID(str(event.details.get("run", ""))))
        except ValueError:
            continue
    rows = Run.objects.filter(pk__in=wanted).select_related("instance", "secret__managed")
    return {str(run.pk): run for run in rows}


def _of(event: AuditEvent, run: Run | None) -> Iterator[Record]:
    call = _call(event)
    if event.action == Run.ENDED_EVENTS[Run.Kind.ROTATE]:
        about, outcome = _account(event, run), str(event.details.get("outcome", ""))
        yield replace(call, name=_ENDED.get(outcome, "RotationFailed"), is_service=True, about=about)  # type: ignore[call-overload]
        return
    if event.action == "kms:PurgeSecret":
        yield replace(call, name="EndSecretVersionDelete", is_service=True)
        return
    yield call
    if event.outcome != AuditEvent.Outcome.SUCCEEDED:
        return
    beside = _BESIDE.get(event.action, "")
    if event.action == "kms:RotateSecret" and run is not None and run.kind == Run.Kind.ROTATE:
        beside = "RotationStarted" if "trigger" in event.details else ""
    if event.action == "kms:PutSecretValue" and event.details.get("abandons"):
        beside = "RotationAbandoned"
    if beside:
        about = _account(event, run) if run else None
        yield replace(call, uid=_uid(event, beside), name=beside, is_service=True, is_read=False, about=about)


def _call(event: AuditEvent) -> Record:
    parts = _ARN.fullmatch(event.resource)
    operation = str(event.details.get("operation", "")) or _AWS_OPERATIONS.get(event.action, "")
    name = operation or event.action.removeprefix("kms:")
    is_denied = event.outcome == AuditEvent.Outcome.DENIED
    # As CloudTrail has it, though the answer on the wire says AccessDeniedException.
    code = str(event.details.get("code", "") or event.details.get("because", "")) or "Failed"
    error = "AccessDenied" if is_denied else "" if event.outcome == AuditEvent.Outcome.SUCCEEDED else code
    return Record(
        uid=_uid(event),
        at=event.at,
        name=name,
        source=AWS_SOURCE if operation else OWN_SOURCE,
        is_service=event.actor is not None and event.actor.kind == Principal.Kind.SYSTEM,
        is_read=name.startswith(_READS),
        outcome=event.outcome,
        error=error,
        message=event.decision if error else "",
        actor=event.actor_name,
        actor_id=str(event.actor_id or ""),
        actor_kind=event.actor.kind if event.actor is not None else "",
        access_key=str(event.details.get("access_key", "")),
        agent=str(event.details.get("client", "")),
        address=event.address or "",
        region=parts["region"] if parts else "",
        account=parts["account"] if parts else "",
        resource=event.resource,
        resource_kind=parts["kind"] if parts else "",
        resource_name=(parts["name"] or "") if parts else "",
        version_id=event.version_id,
        request_id=event.request_id,
        session=event.session,
        reason=event.reason,
        sequence=event.sequence,
        details=event.details,
    )


def _uid(event: AuditEvent, beside: str = "") -> str:
    """An id that is the same each time the event is told: the mac is of this event alone."""
    return str(uuid.uuid5(uuid.UUID(event.mac[:32]), beside or event.action))


def _account(event: AuditEvent, run: Run | None) -> Account | None:
    managed = accounts.of(run.secret) if run is not None and run.secret else None
    if run is None or managed is None:
        return None
    return Account(
        username=managed.username,
        kind=managed.kind,
        host=run.instance.name,
        instance_id=run.instance.instance_id,
        wire=run.instance.wire,
        outcome=str(event.details.get("outcome", "")),
        code=str(event.details.get("code", "")),
    )
