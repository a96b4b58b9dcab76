"""What later rotations make of a password: the fields that the wizard and Edit share."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from rotation import wires
from secrets_app.crypto import passwords

FIELDS: Final = ("length", "sets", "excluded")
_SET_LABELS: Final = [
    ("lower", "Lower case (a-z)"),
    ("upper", "Upper case (A-Z)"),
    ("digits", "Digits (0-9)"),
    ("symbols", f"Symbols ({passwords.SETS['symbols']})"),
]


class PasswordPolicy(forms.Form):
    """Length, sets and excluded characters; a form that has no use for them drops them."""

    length = forms.IntegerField(
        label="Length",
        initial=passwords.Policy().length,
        help_text=f"{passwords.LEAST_LENGTH} to {passwords.MOST_LENGTH} characters.",
        error_messages={"required": "Enter a number.", "invalid": "Enter a whole number."},
    )
    sets = forms.MultipleChoiceField(
        label="Characters",
        choices=_SET_LABELS,
        initial=list(passwords.SETS),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one set."},
    )
    excluded = forms.CharField(
        label="Excluded characters",
        required=False,
        max_length=64,
        strip=False,
        help_text="For example 0O1lI, if users read passwords aloud.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def typed_policy(self) -> passwords.Policy:
        """What the three fields say, once each of them is valid."""
        typed: dict[str, Any] = self.cleaned_data
        return passwords.Policy(typed["length"], tuple(typed["sets"]), typed["excluded"])

    def check_policy(self, wire: str = "") -> None:
        """Put at the length what the three fields say wrong together, and at the sets what a wire demands."""
        if set(FIELDS) & set(self.errors):
            return
        try:
            self.typed_policy().check()
        except passwords.Unfit as unfit:
            self.add_error("length", str(unfit))
        if problem := wires.policy_problem(wire, len(self.cleaned_data["sets"])):
            self.add_error("sets", problem)
