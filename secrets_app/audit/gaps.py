"""Where the audit trail goes on after an older database was restored, as its own events say.

The event that acknowledges a restore stands beyond every event that the newest exported checkpoint knew of,
so that no number is given twice. Only its digest, which needs the audit key, makes it count.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from secrets_app.actions import Action
from secrets_app.audit import audit_keys, chain
from secrets_app.models import AuditEvent


@dataclass(frozen=True)
class Gap:
    """Events that went with the database that was replaced."""

    after: int  # the last event before the gap
    at: int  # the event that acknowledges it
    agrees_to: int  # the newest exported checkpoint that both histories share
    exported_to: int  # the newest exported checkpoint of the history that was replaced
    mac: str  # which that checkpoint signs
    who: str
    when: datetime

    @property
    def sentence(self) -> str:
        """What a person is told of it."""
        gone = f"events {self.after + 1} to {self.at - 1} are not here"
        if self.at - 1 <= self.after:
            gone = "no number is missing"
        return (
            f"An older database was restored: {gone}. Acknowledged by {self.who} on "
            f"{self.when:%Y-%m-%d %H:%M} UTC in event {self.at}."
        )

    def replaced(self, sequence: int) -> bool:
        """Whether an exported checkpoint of this event belongs to the history that was replaced."""
        return self.agrees_to < sequence <= self.exported_to


def known() -> list[Gap]:
    """Return the acknowledged gaps, oldest first. Raises `audit_keys.KeyMissing`."""
    events = AuditEvent.objects.filter(
        action=Action.ACKNOWLEDGE_RESTORE, outcome=AuditEvent.Outcome.SUCCEEDED
    ).order_by("sequence")
    return [gap for event in events if (gap := _gap(event)) is not None]


def _gap(event: AuditEvent) -> Gap | None:
    before = AuditEvent.objects.filter(sequence__lt=event.sequence).order_by("-sequence").first()
    after, mac = (before.sequence, before.mac) if before else (0, chain.GENESIS)
    # Otherwise a writer of the database without the key could declare anything a restore.
    if not hmac.compare_digest(chain.mac(audit_keys.chaining(), event, mac), event.mac):
        return None
    try:
        return Gap(
            after=after,
            at=event.sequence,
            agrees_to=int(event.details["agrees_to"]),
            exported_to=int(event.details["exported_to"]),
            mac=str(event.details["mac"]),
            who=event.actor_name,
            when=event.at,
        )
    except (KeyError, TypeError, ValueError):
        return None
