"""How a secret is deleted: with days to change one's mind, or at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from secrets_app.models import RECOVERY_WINDOW_DAYS

LEAST, MOST = RECOVERY_WINDOW_DAYS
PLAN, NOW = "plan", "now"
NOT_THE_NAME = "Type the secret's name exactly as shown above."
OUT_OF_RANGE = f"Enter {LEAST} to {MOST} days."


class Delete(forms.Form):
    """The answer to Delete Secret; only the half that was chosen counts."""

    how = forms.ChoiceField(
        label="Delete Secret",
        choices=[(PLAN, "Plan Deletion Secret"), (NOW, "Delete Secret Immediately")],
        initial=PLAN,
        widget=forms.RadioSelect,
    )
    days = forms.IntegerField(
        label=f"Delete In ({LEAST}-{MOST} days)",
        initial=MOST,
        help_text="Until then it can be restored as it is.",
        error_messages={"invalid": OUT_OF_RANGE, "required": OUT_OF_RANGE},
        widget=forms.NumberInput(attrs={"min": LEAST, "max": MOST}),
    )
    name = forms.CharField(
        label="Type the secret's name to confirm",
        max_length=512,
        help_text="Its values are destroyed immediately and cannot be recovered.",
        error_messages={"required": NOT_THE_NAME},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Kept in the audit trail. Users who may restore the secret see it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, secret_name: str) -> None:
        super().__init__(data, auto_id="delete_%s")
        self.secret_name = secret_name

    @property
    def is_immediate(self) -> bool:
        return bool(self.cleaned_data.get("how") == NOW)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.is_immediate:
            self.errors.pop("days", None)
            if "name" not in self.errors and cleaned.get("name") != self.secret_name:
                self.add_error("name", NOT_THE_NAME)
        else:
            self.errors.pop("name", None)
            if "days" not in self.errors and not LEAST <= cleaned["days"] <= MOST:
                self.add_error("days", OUT_OF_RANGE)
        return cleaned
