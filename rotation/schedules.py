"""The only writer of schedules: when a secret rotates by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from rotation.models import PERIOD_LIMITS, Schedule
from secrets_app.models import Secret

PRESETS_DAYS = (7, 30, 60, 90)


class BadPeriod(ValueError):
    """A rotation period is 6 hours to 365 days."""


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


def preview(start: datetime, period: timedelta, count: int = 5) -> list[datetime]:
    """Return the next `count` dates after `start`."""
    return [start + period * n for n in range(1, count + 1)]


def due(limit: int) -> list[Schedule]:
    """Return schedules whose time has come, oldest first."""
    return list(
        Schedule.objects.filter(is_on=True, paused_at__isnull=True, next_at__lte=timezone.now())
        .filter(secret__deletion_planned_at__isnull=True, secret__purged_at__isnull=True)
        .select_related("secret")
        .order_by("next_at")[:limit]
    )


def claim(schedule: Schedule) -> bool:
    """Move a due schedule on by its period; True for the one caller that may start the run.

    Two beats may find the same row: the update names the date that was read, so one of them wins.
    """
    now = timezone.now()
    following = (schedule.next_at or now) + schedule.period
    if following <= now:  # a long downtime is caught up with once, not once per period missed
        following = now + schedule.period
    return bool(Schedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at).update(next_at=following))


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
    for schedule in Schedule.objects.filter(secret=secret, is_on=True):
        Schedule.objects.filter(pk=schedule.pk).update(next_at=timezone.now() + schedule.period, failures=0)


def failed(secret: Secret) -> None:
    """Count one more rotation in a row that did not succeed."""
    Schedule.objects.filter(secret=secret).update(failures=F("failures") + 1)
