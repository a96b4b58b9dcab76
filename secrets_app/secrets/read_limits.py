"""What must hold, beside the right, before a person is shown a value: a reason, which policies may judge,
and patience.

A refusal is recorded. Knows no value and no version; `versions.reveal` asks here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, QuerySet

from secrets_app.actions import Action
from secrets_app.audit import refusals
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.policy import decisions

WITHIN = timedelta(minutes=10)
REASON_AT_MOST = 500  # characters, as many as an event keeps
#: Control characters, and what breaks a line or turns it round: a reader of the trail sees what was typed.
_UNFIT_CATEGORIES = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
_UNFIT_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class NoReason(DomainError):
    """Enter a reason. It is recorded in the audit trail."""

    code = "no_reason"


class UnfitReason(DomainError):
    """This reason cannot be recorded as it was entered."""

    code = "unfit_reason"


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


def fit_reason(given: str) -> str:
    """Return the reason as it is recorded, empty only if it may be. Raises `NoReason`, `UnfitReason`."""
    reason = given.strip()
    for character in reason:
        if _is_unfit(character):
            raise UnfitReason(f"The character U+{ord(character):04X} is not allowed.")
    if len(reason) > REASON_AT_MOST:
        raise UnfitReason(f"Use at most {REASON_AT_MOST} characters.")
    is_blank = not any(character.isprintable() and not character.isspace() for character in reason)
    if is_blank and settings.REVEAL_REASON == "required":
        raise NoReason
    return "" if is_blank else reason


def _is_unfit(character: str) -> bool:
    return (
        unicodedata.category(character) in _UNFIT_CATEGORIES
        or unicodedata.bidirectional(character) in _UNFIT_DIRECTIONS
    )


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


def too_many(actors: Sequence[UUID], now: datetime) -> list[TooOften | None]:
    """Return for each read, given as the id of its reader, the error if it is one too many, else None.

    Call it while the head of the trail is locked, with the time of the event: two reads at once are then
    counted one after the other.
    """
    if not actors:
        return []
    had: Counter[UUID] = Counter()
    for actor, count in _reads(actors, now).values_list("actor").annotate(count=Count("pk")).order_by():
        had[actor] = count
    errors: list[TooOften | None] = []
    new: Counter[UUID] = Counter()
    for actor in actors:
        if had[actor] + new[actor] < settings.READS_AT_MOST:
            new[actor] += 1
            errors.append(None)
        else:
            errors.append(TooOften(_again_at(actor, new[actor], now)))
    return errors


def _again_at(actor: UUID, new: int, now: datetime) -> datetime:
    """When one of the reads that count does so no more; `new` of them are being recorded now."""
    if new >= settings.READS_AT_MOST:
        return now + WITHIN
    oldest = _reads([actor], now).order_by("-sequence").values_list("at", flat=True)
    return oldest[settings.READS_AT_MOST - 1 - new] + WITHIN


def _reads(actors: Sequence[UUID], now: datetime) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(
        actor__in=set(actors),
        action=Action.GET_SECRET_VALUE,
        outcome=AuditEvent.Outcome.SUCCEEDED,
        at__gt=now - WITHIN,
    )


def refused(secret: Secret, *, actor: Principal, because: str) -> None:
    """Record that a value was not shown."""
    refusals.note(Action.GET_SECRET_VALUE, secret.arn, actor=actor, because=because, resource_id=secret.pk)
