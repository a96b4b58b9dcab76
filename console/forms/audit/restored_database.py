"""What a person says who acknowledges a restored database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from secrets_app.integrity import restores


class Acknowledge(forms.Form):
    """Why an older database was restored."""

    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="For example which backup was restored, and why. It is kept in the audit trail.",
        error_messages={"required": str(restores.NoReason.__doc__)},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="restore_%s")
