"""The only writer of schedules: when a secret rotates by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from rotation.models import PERIOD_LIMITS, Schedule
from secrets_app import audit, lifecycle, policies
from secrets_app.models import Principal, Secret

PRESETS_DAYS = (7, 30, 60, 90)


class BadPeriod(ValueError):
    """A rotation period is 6 hours to 365 days."""


class BadDate(ValueError):
    """The next rotation is a moment ahead, within 365 days."""


class Outdated(Exception):
    """Somebody else changed this meanwhile; nothing was saved."""


def create(secret: Secret, *, is_on: bool, period: timedelta) -> Schedule:
    """Give a secret its schedule; the first rotation is one period from now. Raises `BadPeriod`."""
    check(period)
    return Schedule.objects.create(
        secret=secret, is_on=is_on, period=period, next_at=timezone.now() + period if is_on else None
    )


def check(period: timedelta) -> timedelta:
    """Return `period`. Raises `BadPeriod` where it is too short or too long."""
    least, most = PERIOD_LIMITS
    if not least <= period <= most:
        raise BadPeriod(BadPeriod.__doc__)
    return period


def change(
    secret: Secret,
    *,
    revision: int,
    is_on: bool,
    period: timedelta,
    actor: Principal,
    is_paused: bool = False,
    next_at: datetime | None = None,
) -> Schedule:
    """Save a configuration that was opened at `revision`; turning on begins with no failures.

    Without `next_at` the next date stays where the period does, and is one period from now otherwise.
    Raises `Outdated`, `BadPeriod`, `BadDate`, `lifecycle.NotEnabled` or `policies.NotAllowed`.
    """
    policies.require(actor, policies.Action.UPDATE_ROTATION, secret)
    check(period)
    now = timezone.now()
    if is_on and next_at is not None and not now < next_at <= now + PERIOD_LIMITS[1]:
        raise BadDate(BadDate.__doc__)
    with transaction.atomic():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        had = Schedule.objects.select_for_update().get(secret=secret)
        if had.revision != revision:
            raise Outdated
        following = next_at or _following(had, period, now) if is_on else None
        Schedule.objects.filter(pk=had.pk).update(
            is_on=is_on,
            period=period,
            next_at=following,
            paused_at=(had.paused_at or now) if is_on and is_paused else None,
            failures=0,
            stopped_at=None,
            revision=F("revision") + 1,
        )
        details = {
            "is_on": is_on,
            "is_paused": is_on and is_paused,
            "period_seconds": int(period.total_seconds()),
            "next_at": following.isoformat() if following else None,
        }
        audit.record(policies.Action.UPDATE_ROTATION, secret, actor=actor, details=details)
    return Schedule.objects.get(pk=had.pk)


def _following(had: Schedule, period: timedelta, now: datetime) -> datetime:
    if not had.is_on or had.period != period or had.next_at is None:
        return now + period
    # What passed during a pause was meant to pass; what is due otherwise stays due.
    return _next_after(had.next_at, period, now) if had.paused_at else had.next_at


def preview(start: datetime, period: timedelta, count: int = 5) -> list[datetime]:
    """Return the next `count` dates after `start`."""
    return [start + period * n for n in range(1, count + 1)]


def due(limit: int) -> list[Schedule]:
    """Return schedules whose time has come, oldest first."""
    return list(
        Schedule.objects.filter(is_on=True, paused_at__isnull=True, stopped_at__isnull=True)
        .filter(next_at__lte=timezone.now())
        .filter(secret__deletion_planned_at__isnull=True, secret__purged_at__isnull=True)
        .select_related("secret")
        .order_by("next_at")[:limit]
    )


def claim(schedule: Schedule) -> bool:
    """Move a due schedule on by its period; True for the one caller that may start the run.

    Two beats may find the same row: the update names the date that was read, so one of them wins. It names
    the revision too, so that a schedule which somebody paused or turned off meanwhile does not fire.
    """
    now = timezone.now()
    following = (schedule.next_at or now) + schedule.period
    if following <= now:  # a long downtime is caught up with once, not once per period missed
        following = now + schedule.period
    unchanged = Schedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at, revision=schedule.revision)
    return bool(unchanged.filter(stopped_at__isnull=True).update(next_at=following))


def catch_up(secret: Secret) -> datetime | None:
    """Move a date that passed while nothing could rotate to the next one, and return the next date.

    None where the secret does not rotate by itself.
    """
    schedule = Schedule.objects.select_for_update().filter(secret=secret, is_on=True).first()
    if schedule is None or schedule.paused_at or schedule.next_at is None:
        return None
    following = _next_after(schedule.next_at, schedule.period, timezone.now())
    Schedule.objects.filter(pk=schedule.pk).update(next_at=following)
    return following


def _next_after(date: datetime, period: timedelta, now: datetime) -> datetime:
    """Return `date`, or the first date after `now` in its rhythm."""
    return date if date > now else date + period * ((now - date) // period + 1)


def close(secret: Secret) -> None:
    """Turn off the schedule of a secret that is purged."""
    Schedule.objects.filter(secret=secret).update(is_on=False, next_at=None)


def rotated(secret: Secret) -> None:
    """Count the next period from a rotation that has just succeeded."""
    for schedule in Schedule.objects.filter(secret=secret, is_on=True, stopped_at__isnull=True):
        Schedule.objects.filter(pk=schedule.pk).update(next_at=timezone.now() + schedule.period, failures=0)


def failed(secret: Secret) -> None:
    """Count one more rotation by schedule in a row that did not succeed; after the last one, stop.

    A password that a host refuses again and again is worth a person's look, not another try.
    """
    mine = Schedule.objects.filter(secret=secret, is_on=True)
    mine.update(failures=F("failures") + 1)
    mine.filter(failures__gte=settings.SCHEDULE_FAILURES, stopped_at__isnull=True).update(
        stopped_at=timezone.now(), next_at=None
    )
