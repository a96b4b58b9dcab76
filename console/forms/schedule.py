"""Configuration rotation: whether, how often and when next a secret rotates by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from console.forms.wizard import UNITS, Period
from rotation.models import Schedule

MINUTES = "%Y-%m-%dT%H:%M"  # what <input type="datetime-local"> sends and takes


class Rotation(Period):
    """A change of a schedule, made on what was shown at `revision`."""

    rotation = forms.ChoiceField(
        label="Automatic rotation",
        choices=[("on", "Turn on automatic rotation"), ("off", "Turn off automatic rotation")],
        widget=forms.RadioSelect,
    )
    is_paused = forms.BooleanField(
        label="Pause",
        required=False,
        help_text="Its dates pass without a rotation until somebody resumes it here.",
    )
    next_at = forms.DateTimeField(
        label="Next rotation",
        required=False,
        widget=forms.DateTimeInput(format=MINUTES, attrs={"type": "datetime-local"}),
        error_messages={"invalid": "Enter a date and a time."},
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, *, plan: Schedule) -> None:
        super().__init__(data, auto_id="schedule_%s", initial=_shown(plan))
        self.fields["period"].widget.attrs["aria-describedby"] = "schedule_period_help"
        zone = timezone.get_current_timezone_name()
        self.fields["next_at"].help_text = f"In {zone}. Left empty, it is one period from now."

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        if not self.is_on:
            # Out of sight then; the period is kept for the day when somebody turns rotation on.
            for name in ("period", "unit", "next_at"):
                self.errors.pop(name, None)
        return found

    @property
    def is_on(self) -> bool:
        return bool(self.cleaned_data.get("rotation") == "on")

    @property
    def chosen_date(self) -> datetime | None:
        """The date that a person chose; None where it is only what the form had shown."""
        return self.cleaned_data.get("next_at") if "next_at" in self.changed_data else None


def _shown(plan: Schedule) -> dict[str, object]:
    unit = "days" if plan.period % UNITS["days"] == UNITS["days"] * 0 else "hours"
    return {
        "rotation": "on" if plan.is_on else "off",
        "period": plan.period // UNITS[unit],
        "unit": unit,
        "is_paused": plan.paused_at is not None,
        "next_at": plan.next_at and plan.next_at.replace(second=0, microsecond=0),
        "revision": plan.revision,
    }
