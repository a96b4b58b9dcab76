"""Limit how often a user may start checks of hosts: often enough for work, too seldom to map a network.

Counts the events of the audit trail, so a request that only speeds up a check under way counts too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now

from secrets_app.actions import Action
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Principal

WITHIN = timedelta(minutes=10)


class TooOften(DomainError):
    """This user has started too many checks; `again_at` says when to try again."""

    code = "checks_too_often"

    def __init__(self, again_at: datetime) -> None:
        minutes = int(WITHIN.total_seconds() // 60)
        super().__init__(
            f"One user may start {settings.CHECKS_AT_MOST} scans and connection tests in {minutes} minutes."
        )
        self.again_at = again_at


def require(actor: Principal) -> None:
    """Return if this user started fewer checks of hosts lately than the limit. Raises `TooOften`.

    Call it inside the transaction that requests the check: two requests at once are counted one by one.
    """
    Principal.objects.select_for_update(no_key=True).get(pk=actor.pk)
    looked = AuditEvent.objects.filter(
        actor=actor,
        action=Action.CHECK_INSTANCE,
        outcome=AuditEvent.Outcome.SUCCEEDED,
        at__gt=Now() - WITHIN,
    )
    lately = list(looked.order_by("-sequence").values_list("at", flat=True)[: settings.CHECKS_AT_MOST])
    if len(lately) == settings.CHECKS_AT_MOST:
        raise TooOften(lately[-1] + WITHIN)
