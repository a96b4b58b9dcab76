"""When something recurs: every period, or at the times of a cron expression in a time zone.

Two dates are never less than 6 hours apart on the wall clock, and never more than a year. A night in which
the clocks change neither loses a date nor doubles it.

Knows no table and no clock: the caller says what time it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from rotation.models import PERIOD_LIMITS
from secrets_app.errors import DomainError

CRON_MOST = timedelta(days=366)  # once a year, in a leap year too
JITTER_MOST = timedelta(hours=24)
CRON_LENGTH = 120
# Weekdays and days of the month meet in every way within so long; with 29 February only a pattern that is
# refused for its four years does not.
HORIZON = timedelta(days=2 * 366)


class Unfit(DomainError, ValueError):
    """A rotation cannot recur like this; `field` is what to change."""

    code = "schedule_unfit"

    field: ClassVar[str]


class BadPeriod(Unfit):
    """A rotation period is 6 hours to 365 days."""

    code = "period_invalid"

    field = "period"


class BadCron(Unfit):
    """These are no times for a rotation; the message says why and what to write."""

    code = "cron_invalid"

    field = "cron"


class BadZone(Unfit):
    """No time zone has this name. Choose one from the list, for example Europe/Berlin."""

    code = "time_zone_invalid"

    field = "zone"


class BadJitter(Unfit):
    """The random delay is too long; the message says how long it may be."""

    code = "jitter_invalid"

    field = "jitter"


@dataclass(frozen=True)
class Recurrence:
    """Every `period`, or at the times of `cron` in `zone`; each date is put off by 0 to `jitter`."""

    period: timedelta = timedelta(days=30)
    cron: str = ""
    zone: str = "UTC"
    jitter: timedelta = timedelta(0)

    def checked(self, now: datetime) -> Recurrence:
        """Return this recurrence as it is kept. Raises `BadPeriod`, `BadCron`, `BadZone` or `BadJitter`.

        With `cron`, `period` becomes the longest time between two dates: how old a value gets.
        """
        if self.zone not in zones():
            raise BadZone(BadZone.__doc__)
        shortest, longest = self.period, self.period
        if self.cron:
            today = now.astimezone(ZoneInfo(self.zone)).date()
            shortest, longest = _gaps(tidied(self.cron), datetime.combine(today, time()))
        elif not PERIOD_LIMITS[0] <= self.period <= PERIOD_LIMITS[1]:
            raise BadPeriod(BadPeriod.__doc__)
        most = min(JITTER_MOST, shortest / 2)
        if not timedelta(0) <= self.jitter <= most:
            raise BadJitter(
                f"The random delay is 0 to {most // timedelta(minutes=1)} minutes here: "
                "at most half the time between two dates, and at most a day."
            )
        return replace(self, cron=tidied(self.cron), period=min(longest, PERIOD_LIMITS[1]))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the dates after `moment`, in UTC and before any random delay."""
        if not self.cron:
            while True:
                moment += self.period
                yield moment
        zone = _zone(self.zone)
        last = moment
        for local in CronSim(self.cron, moment.astimezone(zone)):
            date = local.astimezone(UTC)
            # In the hour that comes twice the library would name the first one again, which has passed.
            if date > last:
                yield date
                last = date

    def dates(self, now: datetime, count: int = 5) -> list[datetime]:
        """Return the next `count` dates, before any random delay."""
        return list(islice(self.after(now), count))

    def drawn_after(self, moment: datetime) -> datetime:
        """Return the first date after `moment`, with a random delay drawn for it."""
        return self.put_off(next(self.after(moment)))

    def put_off(self, date: datetime) -> datetime:
        """Return `date` with a delay of whole seconds drawn for it."""
        return date + timedelta(seconds=secrets.randbelow(int(self.jitter.total_seconds()) + 1))

    def first_ahead(self, date: datetime, now: datetime) -> datetime:
        """Return the date after `date` that is ahead of `now`, so that what was missed is missed once."""
        if self.cron:
            return self.drawn_after(max(date, now))
        periods = max((now - date) // self.period, 0) + 1
        return self.put_off(date + self.period * periods)

    def passed(self, date: datetime, now: datetime) -> list[datetime]:
        """Return `date` and those after it that have come by `now`, before any random delay."""
        return [date, *takewhile(lambda following: following <= now, self.after(date))]

    @property
    def words(self) -> str:
        """The times in words where they are simple, as written otherwise; empty without `cron`."""
        if not self.cron:
            return ""
        _, _, day, _, weekday = self.cron.split()
        # Where both days are given, whether one or both must match hangs on a star: words would mislead.
        is_simple = "*" in (day, weekday) and len(self.cron) <= 24
        said = CronSim(self.cron, datetime(2000, 1, 1, tzinfo=UTC)).explain() if is_simple else self.cron
        return said[0].lower() + said[1:]


def tidied(cron: str) -> str:
    """Return the expression with one space between its fields."""
    return " ".join(cron.split())


@lru_cache
def zones() -> tuple[str, ...]:
    """Return the names of the time zones that this system knows."""
    return tuple(sorted(available_timezones() - {"Factory", "localtime"}))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return ZoneInfo("UTC")  # renamed by a newer tzdata: a date a few hours off is better than none


@lru_cache(maxsize=256)
def _gaps(cron: str, first: datetime) -> tuple[timedelta, timedelta]:
    """Return the shortest and the longest time between two dates after `first`. Raises `BadCron`.

    Measured on the wall clock: every six hours stays every six hours in the night with an hour less.
    """
    shortest, longest, last = CRON_MOST, timedelta(0), first
    for earlier, later in pairwise(_on_the_wall(cron, first)):
        gap = later - earlier
        if gap < PERIOD_LIMITS[0]:
            whole, rest = divmod(gap, timedelta(hours=1))
            apart = f"{gap // timedelta(minutes=1)} minutes" if rest else f"{whole} hour{'s'[: whole - 1]}"
            raise BadCron(
                f"{earlier:%Y-%m-%d %H:%M} and {later:%Y-%m-%d %H:%M} are {apart} apart. "
                "Two dates must be at least 6 hours apart: name fewer minutes or hours."
            )
        if gap > CRON_MOST:
            raise BadCron(
                f"{earlier:%Y-%m-%d %H:%M} and {later:%Y-%m-%d %H:%M} are {gap.days} days apart. "
                "Two dates must be at most a year apart: name more days or months."
            )
        shortest, longest, last = min(shortest, gap), max(longest, gap), later
        if last > first + HORIZON:
            break
    if last == first:
        raise BadCron("These times never come. Choose a day that the month has.")
    return shortest, longest


def _on_the_wall(cron: str, first: datetime) -> CronSim:
    if len(cron) > CRON_LENGTH:
        raise BadCron(f"At most {CRON_LENGTH} characters.")
    if len(cron.split()) != 5:
        raise BadCron(
            "Write five fields with a space between them: minute, hour, day of the month, month, "
            "day of the week. 0 2 * * 0 is every Sunday at 02:00."
        )
    try:
        return CronSim(cron, first)
    except CronSimError as error:
        what = str(error).removeprefix("Bad ").replace("-", " ")
        raise BadCron(
            f"The {what} cannot be read, or never comes. A field is *, a number, a range such as 1-5, "
            "a list such as 1,15, or a step such as */2."
        ) from None
