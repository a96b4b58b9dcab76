"""What only the secrets screens ask in a template."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django import template
from django.utils import timezone

from console.presentation.durations import relative

register = template.Library()


@register.filter
def ago(moment: datetime) -> str:
    """`20 s ago` while it is fresh, then as everywhere: `2 hours ago`."""
    seconds = (timezone.now() - moment).total_seconds()
    return f"{round(seconds)} s ago" if 1 <= seconds < 60 else relative(moment, timezone.now())


@register.inclusion_tag("secrets/_window.html")
def window(first: datetime, last: datetime, is_local: bool = False) -> dict[str, object]:
    """A date, and until when a random delay may put it off: `between 02:00 and 02:10`.

    With `is_local` in the zone of the moments themselves, in the reader's otherwise.
    """
    utc, last_utc = first.astimezone(UTC), last.astimezone(UTC)
    is_short = last - first < timedelta(hours=12)
    return {
        "first": first,
        "last": last if last > first else None,
        "is_local": is_local,
        "is_short": is_short,
        "day": f"{first:%a %Y-%m-%d}",
        "from": f"{first:%H:%M}",
        "until": f"{last:%H:%M}" if is_short else f"{last:%a %Y-%m-%d %H:%M}",
        "iso": f"{utc:%Y-%m-%dT%H:%M:%SZ}",
        "last_iso": f"{last_utc:%Y-%m-%dT%H:%M:%SZ}",
        "exact": f"{utc:%Y-%m-%d %H:%M:%S} UTC",
    }
