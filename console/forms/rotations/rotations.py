"""What the list of runs is narrowed to."""

from __future__ import annotations

from typing import Any

from django import forms

from rotation.models import Run

ACTIVE = "active"


class Filters(forms.Form):
    """What does not make sense narrows nothing."""

    q = forms.CharField(required=False, max_length=200)
    kind = forms.ChoiceField(label="Kind", required=False, choices=[("", "All kinds"), *Run.Kind.choices])
    outcome = forms.ChoiceField(
        label="Outcome",
        required=False,
        choices=[("", "All outcomes"), (ACTIVE, "Under way"), *Run.Outcome.choices],
    )

    trigger = forms.ChoiceField(
        label="Trigger", required=False, choices=[("", "All triggers"), *Run.Trigger.choices]
    )
    instance = forms.CharField(required=False, max_length=80)
    since = forms.DateField(label="From", required=False)
    until = forms.DateField(label="To", required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", "To is earlier than From. Choose a later date.")
        return cleaned

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        self.is_valid()
        return {name: chosen for name, chosen in self.cleaned_data.items() if chosen}
