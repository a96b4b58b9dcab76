"""What the list of runs is narrowed to."""

from __future__ import annotations

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

    def chosen(self) -> dict[str, str]:
        """The filters that are set and valid."""
        self.is_valid()
        return {name: text for name, text in self.cleaned_data.items() if text}
