"""Configuration rotation: whether, how often and when next a secret rotates automatically."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from rotation import schedules
from rotation.models import Schedule
from rotation.recurrence import CRON_LENGTH, BadPeriod, Recurrence, Unfit, zones

MINUTES = "%Y-%m-%dT%H:%M"  # what <input type="datetime-local"> sends and takes
DEFAULT_PERIOD = timedelta(days=30)
DEFAULT_JITTER = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
UNITS = {"hours": timedelta(hours=1), "days": timedelta(days=1)}
RECURRENCE_FIELDS = ("recurrence", "period", "unit", "cron", "zone", "jitter", "catch_up")
CRON_PRESETS = (
    ("0 2 * * *", "Every night at 02:00"),
    ("0 2 * * 0", "Every Sunday at 02:00"),
    ("0 2 1 * *", "The first of the month at 02:00"),
)


class RecurrenceForm(forms.Form):
    """When a secret rotates: every period, or at set times."""

    chosen = Recurrence(DEFAULT_PERIOD)  # what the fields say together, once they are checked

    recurrence = forms.ChoiceField(
        label="Recurrence",
        choices=[("period", "Every period"), ("cron", "At set times (cron)")],
        initial="period",
        required=False,
        widget=forms.RadioSelect,
    )
    period = forms.IntegerField(
        label="Rotation Period",
        initial=DEFAULT_PERIOD.days,
        widget=forms.NumberInput(attrs={"class": "input"}),
        error_messages={"required": "Enter a number.", "invalid": "Enter a whole number."},
    )
    unit = forms.ChoiceField(
        label="Unit of the rotation period",
        choices=[("hours", "hours"), ("days", "days")],
        initial="days",
        widget=forms.Select(attrs={"class": "select", "aria-label": "Unit of the rotation period"}),
    )
    cron = forms.CharField(
        label="Times",
        required=False,
        initial=CRON_PRESETS[0][0],
        max_length=CRON_LENGTH,
        widget=forms.TextInput(
            attrs={"class": "input input-mono", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        max_length=64,
        help_text="The times above are wall times there, in summer and in winter.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "list": "time-zones"}),
    )
    jitter = forms.IntegerField(
        label="Random delay in minutes",
        required=False,
        initial=DEFAULT_JITTER // MINUTE,
        help_text="Adds a random delay of up to this many minutes, so that secrets that are due "
        "together do not all rotate at once. 0 keeps the dates exact.",
        error_messages={"invalid": "Enter a whole number."},
    )
    catch_up = forms.ChoiceField(
        label="After downtime",
        choices=Schedule.CatchUp.choices,
        initial=Schedule.CatchUp.ONCE,
        required=False,
        help_text="The action for dates that passed while Keyturn was not running.",
    )

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        own = timezone.get_current_timezone_name()
        self.fields["zone"].initial = own
        if not self.is_bound and not self.initial.get("zone"):
            self.initial["zone"] = own
            self.fields["zone"].widget.attrs["data-own-zone"] = ""
        for name in ("period", "cron"):
            self.fields[name].widget.attrs["aria-describedby"] = f"{self[name].id_for_label}_help"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        # The fields of the other choice are out of sight; what stands there was not meant.
        for name in ("period", "unit") if self.is_cron else ("cron", "zone"):
            self.errors.pop(name, None)
        if not set(RECURRENCE_FIELDS) & set(self.errors):
            self._choose()
        return cleaned

    def _choose(self) -> None:
        try:
            self.chosen = self._typed().checked(schedules.now())
        except OverflowError:
            self.add_error("period", str(BadPeriod.__doc__))
        except Unfit as unfit:
            self.add_error(unfit.field, str(unfit))

    def _typed(self) -> Recurrence:
        cleaned = self.cleaned_data
        # A number that no timedelta holds is too long as well.
        jitter = MINUTE * max(-1, min(cleaned["jitter"] or 0, 10**6))
        if self.is_cron:
            zone = cleaned["zone"] or timezone.get_current_timezone_name()
            return Recurrence(cron=cleaned["cron"] or " ", zone=zone, jitter=jitter)
        return Recurrence(UNITS[cleaned["unit"]] * cleaned["period"], jitter=jitter)

    def without_errors_out_of_sight(self) -> None:
        """Forget what is wrong with the times while rotation is off."""
        for name in RECURRENCE_FIELDS:
            self.errors.pop(name, None)

    @property
    def is_cron(self) -> bool:
        return bool(self.cleaned_data.get("recurrence") == "cron")

    @property
    def after_downtime(self) -> str:
        return str(self.cleaned_data.get("catch_up") or Schedule.CatchUp.ONCE)

    @property
    def zones(self) -> tuple[str, ...]:
        return zones()


class Rotation(RecurrenceForm):
    """A change of a schedule, made on what was shown at `revision`."""

    rotation = forms.ChoiceField(
        label="Automatic rotation",
        choices=[("on", "Turn on automatic rotation"), ("off", "Turn off automatic rotation")],
        widget=forms.RadioSelect,
    )
    is_paused = forms.BooleanField(
        label="Pause",
        required=False,
        help_text="Its dates pass without a rotation until a user resumes it here.",
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
        zone = timezone.get_current_timezone_name()
        self.fields["next_at"].help_text = f"In {zone}. If empty, the first of the dates above is used."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.is_on:
            # Out of sight then; the times are kept until a user turns rotation on.
            self.without_errors_out_of_sight()
            self.errors.pop("next_at", None)
        return cleaned

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
        "recurrence": "cron" if plan.cron else "period",
        "period": plan.period // UNITS[unit],
        "unit": unit,
        "cron": plan.cron or CRON_PRESETS[0][0],
        "zone": plan.zone if plan.cron else "",
        "jitter": plan.jitter // MINUTE,
        "catch_up": plan.catch_up,
        "is_paused": plan.paused_at is not None,
        "next_at": plan.next_at and plan.next_at.replace(second=0, microsecond=0),
        "revision": plan.revision,
    }
