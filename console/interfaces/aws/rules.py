"""RotationRules of the service, and schedules of Keyturn: each read as the other, or refused with a sentence.

Source: AWS Secrets Manager User Guide, "Schedule expressions". The service picks a moment inside a window;
here that is a date with a random delay, and the window's length is the longest delay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from console.interfaces.aws import faults, shapes
from rotation.models import Schedule

DAYS = (1, 1000)
_RATE = re.compile(r"rate\(([1-9]\d{0,3}) (hour|hours|day|days)\)")
_CRON = re.compile(r"cron\(([^()]{1,200})\)")
_DURATION = re.compile(r"([1-9]\d?)h")
_UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_NUMBER = re.compile(r"(?<![#/\d])[0-7](?!\d)")  # not the number of a week, as in SUN#1, nor a step
_EVERY = {"*", "?"}


@dataclass(frozen=True)
class Rules:
    """When a secret rotates, as `rotation.schedules` takes it; in UTC."""

    period: timedelta
    cron: str
    jitter: timedelta


def read(given: dict[str, Any]) -> Rules:
    """Return the rules of a request. Raises `faults.Fault`."""
    shapes.check_members("rotationRules", given, shapes.RULES)
    days, expression = given.get("AutomaticallyAfterDays"), given.get("ScheduleExpression", "")
    if (days is None) == (not expression):
        raise faults.invalid_parameter(
            "RotationRules has either AutomaticallyAfterDays or ScheduleExpression, and not both."
        )
    jitter = _duration(given.get("Duration", ""))
    if days is not None:
        if not DAYS[0] <= days <= DAYS[1]:
            raise faults.invalid_parameter("RotationRules.AutomaticallyAfterDays must be within 1-1000.")
        return Rules(timedelta(days=days), "", jitter)
    if rate := _RATE.fullmatch(expression):
        return Rules(int(rate[1]) * _UNITS[rate[2].rstrip("s")], "", jitter)
    if cron := _CRON.fullmatch(expression):
        return Rules(timedelta(days=365), _from_cron(cron[1]), jitter)
    raise faults.invalid_parameter("ScheduleExpression is rate(N hours), rate(N days) or cron(...).")


def _duration(text: str) -> timedelta:
    if not text:
        return timedelta(0)
    if not (found := _DURATION.fullmatch(text)):
        raise faults.invalid_parameter("Duration is a number of hours, such as 3h.")
    return timedelta(hours=int(found[1]))


def _from_cron(text: str) -> str:
    """Minute, hour, day, month, weekday and year, of which one day is a question mark, in five fields."""
    fields = text.split()
    if len(fields) != 6 or fields[5] != "*":
        raise faults.invalid_parameter("A cron expression has six fields, and * for the year.")
    minute, hour, day, month, weekday, _ = fields
    if "?" not in {day, weekday}:
        raise faults.invalid_parameter("One of day-of-month and day-of-week is a question mark.")
    if "?" in minute + hour + month:
        raise faults.invalid_parameter("A question mark stands for a day only.")
    # There a week begins with 1 for Sunday, here with 0; a lone L is its last day.
    if "0" in _NUMBER.findall(weekday):
        raise faults.invalid_parameter("A day of the week is 1 to 7, or SUN to SAT.")
    numbered = "6" if weekday == "L" else _NUMBER.sub(lambda found: str(int(found[0]) - 1), weekday)
    return " ".join([minute, hour, "*" if day == "?" else day, month, "*" if weekday == "?" else numbered])


def of(schedule: Schedule) -> dict[str, Any]:
    """The rules of a schedule; none where its times cannot be said in the service's words."""
    hours, rest = divmod(schedule.jitter, timedelta(hours=1))
    duration = {"Duration": f"{hours}h"} if hours and not rest else {}
    if schedule.cron:
        expression = _to_cron(schedule.cron) if schedule.zone == "UTC" else ""
        return {"ScheduleExpression": expression} | duration if expression else {}
    days, rest = divmod(schedule.period, timedelta(days=1))
    if not rest:
        return {"AutomaticallyAfterDays": days} | duration
    hours, rest = divmod(schedule.period, timedelta(hours=1))
    return {"ScheduleExpression": f"rate({hours} hours)"} | duration if not rest else {}


def _to_cron(cron: str) -> str:
    minute, hour, day, month, weekday = cron.split()
    if day not in _EVERY and weekday not in _EVERY:
        return ""
    numbered = _NUMBER.sub(lambda found: str(int(found[0]) % 7 + 1), weekday)
    if day in _EVERY and weekday in _EVERY:
        return f"cron({minute} {hour} * {month} ? *)"
    if weekday in _EVERY:
        return f"cron({minute} {hour} {day} {month} ? *)"
    return f"cron({minute} {hour} ? {month} {numbered} *)"
