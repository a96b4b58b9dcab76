"""What must hold, beside the right, before a person is shown a value: a reason where a policy asks for one,
and patience.

A refusal is recorded. Knows no value and no version; `versions.reveal` asks here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now

from secrets_app.actions import Action
from secrets_app.audit import refusals
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.policy import decisions

WITHIN = timedelta(minutes=10)


class ReasonNeeded(decisions.NotAllowed):
    """A policy allows this only with a reason that it accepts."""

    code = "reason_needed"

    def __init__(self, secret: Secret) -> None:
        super().__init__(str(self.__doc__), Action.GET_SECRET_VALUE, secret)


class TooOften(DomainError):
    """This user has read too many values; `again_at` says when to try again."""

    code = "reads_too_often"

    def __init__(self, again_at: datetime) -> None:
        minutes = int(WITHIN.total_seconds() // 60)
        super().__init__(
            f"{settings.READS_AT_MOST} values in {minutes} minutes are the most that a user may read."
        )
        self.again_at = again_at


def asks_for_reason(secret: Secret, *, actor: Principal, reason: str = "") -> bool:
    """Whether a policy lets `actor` read this value for another reason, and not for this one."""
    return decisions.allows(actor, Action.GET_SECRET_VALUE, secret) and not _accepts(secret, actor, reason)


def require_reason(secret: Secret, *, actor: Principal, reason: str) -> None:
    """Return where every policy accepts the reason; else record the refusal. Raises `ReasonNeeded`."""
    try:
        decisions.require(actor, Action.GET_SECRET_VALUE, secret, reason=reason.strip())
    except decisions.NotAllowed:
        error = ReasonNeeded(secret)
        refused(secret, actor=actor, because=str(error))
        raise error from None


def _accepts(secret: Secret, actor: Principal, reason: str) -> bool:
    return decisions.decide(actor, Action.GET_SECRET_VALUE, secret, reason=reason.strip()).allowed


def require_patience(actor: Principal) -> None:
    """Return if this user has read fewer values lately than the limit. Raises `TooOften`.

    Call it inside the transaction of the read: two at once are counted one after the other.
    """
    Principal.objects.select_for_update(no_key=True).get(pk=actor.pk)
    read = AuditEvent.objects.filter(
        actor=actor,
        action=Action.GET_SECRET_VALUE,
        outcome=AuditEvent.Outcome.SUCCEEDED,
        at__gt=Now() - WITHIN,
    )
    lately = list(read.order_by("-sequence").values_list("at", flat=True)[: settings.READS_AT_MOST])
    if len(lately) == settings.READS_AT_MOST:
        raise TooOften(lately[-1] + WITHIN)


def refused(secret: Secret, *, actor: Principal, because: str) -> None:
    """Record that a value was not shown."""
    refusals.note(Action.GET_SECRET_VALUE, secret.arn, actor=actor, because=because, resource_id=secret.pk)
