"""What only the secrets screens ask in a template."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils import timezone

from console.templatetags.console import relative

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
    days = "%H:%M" if first.date() == last.date() else "%a %Y-%m-%d %H:%M"
    return {
        "first": first,
        "last": last if last > first else None,
        "is_local": is_local,
        "day": f"{first:%a %Y-%m-%d}",
        "from": f"{first:%H:%M}",
        "until": f"{last:{days}}",
        "iso": first.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "exact": first.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
