"""The only writer of schedules: when a secret rotates automatically.

A date fires once, even if many schedulers read it. Only the database's time decides whether a date has come,
so a wrong clock on one machine starts no rotation early or twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import Now, RowNumber

from rotation import accounts, missed
from rotation.models import GRACE, PERIOD_LIMITS, Schedule
from rotation.recurrence import Recurrence
from secrets_app import prepared
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Region, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle

PRESETS_DAYS = (7, 30, 60, 90)
_LIVE = prepared.Question(
    lambda secret: Schedule.objects.select_for_update().filter(secret=secret, is_on=True, stopped_at=None)
)


class BadDate(DomainError, ValueError):
    """The next rotation is a moment ahead, within 365 days."""

    code = "date_invalid"


class Outdated(DomainError):
    """Another user changed this in the meantime; nothing was saved."""

    code = "schedule_outdated"


def now() -> datetime:
    """Return the database's time."""
    moment: datetime = Region.objects.values_list(Now(), flat=True)[:1].get()  # any row that is there
    return moment


def recurrence_of(schedule: Schedule) -> Recurrence:
    """Return when `schedule` recurs."""
    return Recurrence(schedule.period, schedule.cron, schedule.zone, schedule.jitter)


def create(
    secret: Secret,
    *,
    is_on: bool,
    period: timedelta,
    cron: str = "",
    zone: str = "UTC",
    jitter: timedelta = timedelta(0),
    catch_up: str = Schedule.CatchUp.ONCE,
) -> Schedule:
    """Give a secret its schedule; the first rotation is at its first date.

    Raises `recurrence.Unfit` or `accounts.Unmanaged`.
    """
    accounts.needed(secret)
    at = now()
    kept = Recurrence(period, cron, zone, jitter).checked(at)
    return Schedule.objects.create(
        secret=secret,
        is_on=is_on,
        period=kept.period,
        cron=kept.cron,
        zone=kept.zone,
        jitter=kept.jitter,
        catch_up=catch_up,
        next_at=kept.drawn_after(at) if is_on else None,
    )


def change(
    secret: Secret,
    *,
    revision: int,
    is_on: bool,
    period: timedelta,
    actor: Principal,
    cron: str = "",
    zone: str = "UTC",
    jitter: timedelta = timedelta(0),
    catch_up: str = Schedule.CatchUp.ONCE,
    is_paused: bool = False,
    next_at: datetime | None = None,
) -> Schedule:
    """Save a configuration that was opened at `revision`; turning on begins with no failures.

    Without `next_at`, the next date stays if the recurrence does; otherwise it is the first one from now.
    Raises `Outdated`, `recurrence.Unfit`, `BadDate`, `lifecycle.NotEnabled`, `accounts.Unmanaged` or
    `decisions.NotAllowed`.
    """
    decisions.require(actor, decisions.Action.UPDATE_ROTATION, secret)
    accounts.needed(secret)
    at = now()
    kept = Recurrence(period, cron, zone, jitter).checked(at)
    if is_on and next_at is not None and not at < next_at <= at + PERIOD_LIMITS[1]:
        raise BadDate(BadDate.__doc__)
    with transaction.atomic():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        had = Schedule.objects.select_for_update().get(secret=secret)
        if had.revision != revision:
            raise Outdated
        following = next_at or _following(had, kept, at) if is_on else None
        if following is None or following > at:
            # What passed during a pause was meant to pass; what was overdue before it was not.
            _note_overdue(had, had.paused_at or at, "missed_changed")
        Schedule.objects.filter(pk=had.pk).update(
            is_on=is_on,
            period=kept.period,
            cron=kept.cron,
            zone=kept.zone,
            jitter=kept.jitter,
            catch_up=catch_up,
            next_at=following,
            paused_at=(had.paused_at or at) if is_on and is_paused else None,
            failures=0,
            stopped_at=None,
            revision=F("revision") + 1,
        )
        details = {
            "is_on": is_on,
            "is_paused": is_on and is_paused,
            "period_seconds": int(kept.period.total_seconds()),
            "cron": kept.cron,
            "zone": kept.zone,
            "jitter_seconds": int(kept.jitter.total_seconds()),
            "catch_up": str(catch_up),
            "next_at": following.isoformat() if following else None,
        }
        trail.record(decisions.Action.UPDATE_ROTATION, secret, actor=actor, details=details)
    return Schedule.objects.get(pk=had.pk)


def _following(had: Schedule, kept: Recurrence, at: datetime) -> datetime:
    # Another delay counts from the next date on; the longest pause of a cron may shift with the calendar.
    same = replace(recurrence_of(had), jitter=kept.jitter, period=kept.period if kept.cron else had.period)
    if not had.is_on or same != kept or had.next_at is None:
        return kept.drawn_after(at)
    # A date that passed during a pause was meant to pass; any other date that is due stays due.
    return _ahead(had, at) if had.paused_at else had.next_at


def _ahead(schedule: Schedule, at: datetime) -> datetime:
    """Return the schedule's date, or the first one after `at` in its recurrence."""
    assert schedule.next_at is not None
    return (
        schedule.next_at
        if schedule.next_at > at
        else recurrence_of(schedule).first_ahead(schedule.next_at, at)
    )


# ---------------------------------------------------------------- fired


def _is_due() -> Q:
    return Q(is_on=True, paused_at=None, stopped_at=None, next_at__lte=Now())


def due(limit: int) -> list[Schedule]:
    """Return schedules whose time has come: of each region the oldest first, and of all regions alike."""
    turn = Window(RowNumber(), partition_by="secret__region", order_by=["next_at", "pk"])
    return list(
        Schedule.objects.filter(_is_due())
        .filter(secret__deletion_planned_at__isnull=True, secret__purged_at__isnull=True)
        .select_related("secret__managed__instance", "secret__region", "secret__account")
        .annotate(turn=turn)
        .order_by("turn", "next_at", "pk")[:limit]
    )


def claim(schedule: Schedule) -> datetime | None:
    """Move a due schedule on; return the date that fires to the one caller that may start its run.

    Many schedulers may have read the same row. The update names the date that was read, so that one of them
    wins, and the revision, so that a schedule that a user paused or turned off meanwhile does not fire. A row
    that another scheduler is claiming is passed over without waiting. Dates that fire no more are recorded.
    """
    with transaction.atomic():
        read = Q(pk=schedule.pk, next_at=schedule.next_at, revision=schedule.revision)
        unchanged = Schedule.objects.filter(read).filter(_is_due())
        at = unchanged.select_for_update(skip_locked=True).values_list(Now(), flat=True).first()
        if at is None:
            return None
        turn = _turn(schedule, at)
        if not unchanged.update(next_at=turn.following):
            return None
        missed.note(schedule.secret, turn.missed, "missed_down")
    return turn.fires


def claim_all(read: Sequence[Schedule]) -> list[tuple[Schedule, datetime]]:
    """Do what `claim` does for many at once; return those whose run the caller starts, each with its date."""
    before = {schedule.pk: schedule for schedule in read}
    with transaction.atomic():
        there = Schedule.objects.filter(_is_due(), pk__in=before).annotate(at=Now())
        moved: list[Schedule] = []
        fires: list[tuple[Schedule, datetime]] = []
        for row in there.select_for_update(skip_locked=True):
            schedule = before[row.pk]
            if (row.next_at, row.revision) != (schedule.next_at, schedule.revision):
                continue
            turn = _turn(schedule, row.at)
            row.next_at = turn.following
            moved.append(row)
            missed.note(schedule.secret, turn.missed, "missed_down")
            if turn.fires:
                fires.append((schedule, turn.fires))
        # The rows are locked, or the transaction is the only one that writes: nothing can have come between.
        Schedule.objects.bulk_update(moved, ["next_at"])
    return fires


@dataclass(frozen=True)
class _Turn:
    """What becomes of the dates of a schedule that have come."""

    following: datetime  # the next date, which is ahead
    fires: datetime | None  # the last of those that have come, unless the schedule leaves it out
    missed: list[datetime]  # the others


def _turn(schedule: Schedule, at: datetime) -> _Turn:
    """Fire the last date that has come: a long downtime is caught up with once, not once per date missed."""
    date, mine = schedule.next_at, recurrence_of(schedule)
    assert date is not None
    following = mine.drawn_after(date)
    if following > at:
        come = [date]
    else:
        come = mine.passed(date, at)
        skips = schedule.catch_up == Schedule.CatchUp.SKIP
        following = mine.first_ahead(date, at) if skips else mine.drawn_after(at)
    if schedule.catch_up == Schedule.CatchUp.SKIP and come[-1] < at - GRACE:
        return _Turn(following, None, come)
    return _Turn(following, come[-1], come[:-1])


def _note_overdue(had: Schedule, until: datetime, code: str) -> None:
    """Record the dates that were overdue at `until`, when the schedule stops waiting for them."""
    is_live = had.is_on and not had.stopped_at
    if is_live and had.next_at and had.next_at < until - GRACE:
        missed.note(had.secret, recurrence_of(had).passed(had.next_at, until - GRACE), code)


def catch_up(secret: Secret, *, planned_at: datetime) -> datetime | None:
    """Move a date that passed since the deletion was planned to the next one, and return the next date.

    Returns None if the secret does not rotate automatically. A date that was overdue before is recorded.
    """
    schedule = Schedule.objects.select_for_update().filter(secret=secret, is_on=True).first()
    if schedule is None or schedule.paused_at or schedule.next_at is None:
        return None
    _note_overdue(schedule, planned_at, "missed_changed")
    following = _ahead(schedule, now())
    Schedule.objects.filter(pk=schedule.pk).update(next_at=following)
    return following


def close(secret: Secret) -> None:
    """Turn off the schedule of a secret that is purged; a date that was overdue before is recorded."""
    for had in Schedule.objects.select_for_update().filter(secret=secret):
        _note_overdue(had, had.paused_at or secret.deletion_planned_at or now(), "missed_changed")
    Schedule.objects.filter(secret=secret).update(is_on=False, next_at=None)


# ---------------------------------------------------------------- how it went


def rotated(secret: Secret) -> None:
    """Count the next date from a rotation that has just succeeded."""
    with transaction.atomic(savepoint=False):
        for schedule in _LIVE(secret.pk):
            at = now()
            if schedule.paused_at:
                _note_overdue(schedule, schedule.paused_at, "missed_changed")
            elif schedule.next_at and schedule.next_at <= at:
                # This rotation serves the last of the dates that have come and were not claimed.
                come = recurrence_of(schedule).passed(schedule.next_at, at)
                missed.note(secret, come[:-1], "missed_down")
            following = recurrence_of(schedule).drawn_after(at)
            Schedule.objects.filter(pk=schedule.pk).update(next_at=following, failures=0)


def failed(secret: Secret) -> None:
    """Count one more rotation by schedule in a row that did not succeed; after the last one, stop.

    If a host refuses a password again and again, a user must look at it; another try does not help.
    """
    mine = Schedule.objects.filter(secret=secret, is_on=True)
    mine.update(failures=F("failures") + 1)
    stopping = mine.filter(failures__gte=settings.SCHEDULE_FAILURES, stopped_at__isnull=True)
    for had in stopping:
        _note_overdue(had, had.paused_at or now(), "missed_down")
    stopping.update(stopped_at=Now(), next_at=None)
