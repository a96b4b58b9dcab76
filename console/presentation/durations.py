"""Times as people say them: how long something took, and how far away a moment is."""

from __future__ import annotations

from datetime import datetime, timedelta

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def relative(moment: datetime, now: datetime) -> str:
    """`in 3 days`, `2 hours ago`; static/js/times.js says it in the same words."""
    seconds = round((moment - now).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = abs(seconds) // length
        if count:
            text = _count(count, unit)
            return f"in {text}" if seconds > 0 else f"{text} ago"
    return "in less than a minute" if seconds > 0 else "just now"


def near(moment: datetime, now: datetime) -> str:
    """`in 3 d`, `5 h ago`: as `relative`, where there is little room; static/js/times.js says it alike."""
    seconds = round((moment - now).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        count = abs(seconds) // length
        if count:
            return f"in {count} {unit}" if seconds > 0 else f"{count} {unit} ago"
    return "now" if seconds > 0 else "just now"


def short(moment: datetime, now: datetime) -> str:
    """`14:20` today, `5 Mar 14:20` this year, `5 Mar 2025` otherwise; both are in the reader's zone."""
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    day = f"{moment.day} {MONTHS[moment.month - 1]}"
    return f"{day} {moment:%H:%M}" if moment.year == now.year else f"{day} {moment.year}"


def duration(length: timedelta | None) -> str:
    """`820 ms`, `12 s`, `1 min 5 s`, `6 hours`, `7 days`; a dash where nothing was measured."""
    if length is None:
        return "\N{EM DASH}"
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{round(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    if whole < 86400:
        hours, minutes = divmod(whole // 60, 60)
        return _count(hours, "hour") + (f" {minutes} min" if minutes else "")
    days, hours = divmod(whole // 3600, 24)
    return _count(days, "day") + (f" {_count(hours, 'hour')}" if hours else "")


def _two(amount: int, step: int, large: str, small: str) -> str:
    big, rest = divmod(amount, step)
    return f"{big} {large} {rest} {small}" if rest else f"{big} {large}"


def _count(amount: int, unit: str) -> str:
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"
