"""What only the secrets screens ask in a template."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils import timezone

from console.templatetags.console import relative

register = template.Library()


@register.filter
def ago(moment: datetime) -> str:
    """`20 s ago` while it is fresh, then as everywhere: `2 hours ago`."""
    seconds = (timezone.now() - moment).total_seconds()
    return f"{round(seconds)} s ago" if 1 <= seconds < 60 else relative(moment, timezone.now())
