"""What a dialog asks before something goes for good: its name, typed, and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError


class TypedName(forms.Form):
    """The name of `what`, exactly as shown, and why."""

    name = forms.CharField(
        max_length=512, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="Stands in the history and in the audit trail.",
        error_messages={"required": "Enter a reason."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, what: str, name: str) -> None:
        super().__init__(data, auto_id="confirm_%s")
        self.expected = name
        self.wrong = f"Type the {what}'s name exactly as shown above."
        self.fields["name"].label = f"Type the {what}'s name to confirm"
        self.fields["name"].error_messages["required"] = self.wrong

    def clean_name(self) -> str:
        typed = str(self.cleaned_data["name"])
        if typed != self.expected:
            raise ValidationError(self.wrong)
        return typed
