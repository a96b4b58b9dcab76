"""A list that is narrowed to a period: **From** and **To**, each of them optional, and periods to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from console.forms.filters import Filters

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Preset:
    """A period with a name, as **From** and **To** have it in a URL."""

    label: str
    since: str
    until: str
    is_chosen: bool


class Period(Filters):
    """The fields `since` and `until` of a subclass, dates or times; a *To* before its *From* is an error."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", "To is earlier than From. Choose a later date.")
        return cleaned

    def presets(self) -> Iterator[Preset]:
        """The periods that end today or ended last, by the reader's calendar."""
        now = (self.data.get("since"), self.data.get("until"))
        for label, first, last in _periods(timezone.localdate()):
            since, until = f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}"
            if isinstance(self.fields["since"], forms.DateTimeField):
                since, until = f"{since}T00:00", f"{until}T23:59"
            yield Preset(label, since, until, (since, until) == now)


def _periods(today: date) -> list[tuple[str, date, date]]:
    """Each period with its first and last day."""
    month = today.replace(day=1)
    quarter = month.replace(month=(today.month - 1) // 3 * 3 + 1)
    before = quarter - DAY
    return [
        ("Today", today, today),
        ("7 days", today - 6 * DAY, today),
        ("Last month", (month - DAY).replace(day=1), month - DAY),
        ("Last quarter", before.replace(day=1, month=before.month - 2), before),
    ]
