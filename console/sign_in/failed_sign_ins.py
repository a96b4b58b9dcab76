"""Failed sign-ins as a person, told to that person: after the next sign-in, and beside their sessions.

Reads the audit trail, with what is counted there and not recorded yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib import messages
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from django.utils import timezone

from console.sessions import records
from secrets_app.models import AuditEvent, Refusals, User

SHOWN_DAYS: Final = 30
MOST: Final = 200  # events that are looked at; each may stand for many
_ACTIONS = (records.SIGN_IN, records.USE_SECOND_FACTOR)


@dataclass(frozen=True)
class Failed:
    """Failed sign-ins of one kind, from one address, within a minute."""

    at: datetime
    address: str
    count: int
    because: str
    knew_password: bool


def of(user: User, *, since: datetime | None = None) -> list[Failed]:
    """What failed as this person, the newest first; of the last thirty days, or after `since`."""
    earliest = timezone.now() - timedelta(days=SHOWN_DAYS)
    earliest = max(earliest, since) if since else earliest
    events = AuditEvent.objects.filter(
        resource_id=user.pk, action__in=_ACTIONS, outcome=AuditEvent.Outcome.DENIED, at__gt=earliest
    )
    counted = Refusals.objects.filter(resource_id=user.pk, action__in=_ACTIONS, count__gt=0)
    failed = [_recorded(row) for row in events[:MOST]]
    failed += [_failed(row, row.since, row.count, row.because) for row in counted[:MOST]]
    return sorted((row for row in failed if row.at > earliest), key=lambda row: row.at, reverse=True)


def _tell(request: HttpRequest, user: User, **_: object) -> None:
    """Say at a sign-in what failed since the one before; this one is recorded already."""
    ins = AuditEvent.objects.filter(
        resource_id=user.pk, action=records.SIGN_IN, outcome=AuditEvent.Outcome.SUCCEEDED
    )
    before = list(ins.values_list("at", flat=True)[1:2])
    failed = of(user, since=before[0] if before else None)
    if failed:
        messages.warning(request, sentence(failed), fail_silently=True)


def sentence(failed: list[Failed]) -> str:
    """How often, from where, and whether the password was right."""
    count, known = _sum(failed), _sum(attempt for attempt in failed if attempt.knew_password)
    addresses = list(dict.fromkeys(attempt.address for attempt in failed if attempt.address))
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    where = f" from {', '.join(addresses[:3])}{more}" if addresses else ""
    times = "sign-in" if count == 1 else "sign-ins"
    said = f"{count} failed {times} as you{where} since your last one."
    if known:
        said += f" In {known} of them the password was right: if that was not you, change it now."
    return f"{said} They are listed under Your sessions."


def _sum(failed: Iterable[Failed]) -> int:
    return sum(attempt.count for attempt in failed)


def _recorded(event: AuditEvent) -> Failed:
    # What was counted is recorded a minute later: it happened when the counting began.
    more = event.details.get("more")
    at = datetime.fromisoformat(event.details["since"]) if more else event.at
    return _failed(event, at, int(more or 1), event.decision)


def _failed(row: AuditEvent | Refusals, at: datetime, count: int, because: str) -> Failed:
    return Failed(at, row.address or "", count, because, row.action == records.USE_SECOND_FACTOR)


# After the receiver in `records`, which has been connected by the import above.
user_logged_in.connect(_tell, dispatch_uid="console.sign_in.failed_sign_ins")
