"""The forms in which a person decides what no machine can: override a check, resolve a rotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms

AGAIN: Final = "again"
GONE: Final = "gone"
SET_ASIDE: Final = "set_aside"


def reason_field(help_text: str = "Recorded in the audit trail with your name.") -> forms.CharField:
    """The decision, and the reason for it."""
    return forms.CharField(
        label="Reason",
        max_length=500,
        help_text=help_text,
        error_messages={"required": "Enter a reason. It is recorded in the audit trail."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class Override(forms.Form):
    """Why a check that blocked a rotation may not stop the next one."""

    reason = reason_field()

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="override_%s")


class Resolve(forms.Form):
    """What a person knows of a value that the instance may or may not have."""

    decision = forms.ChoiceField(
        label="What is true?",
        choices=[
            (AGAIN, "Ask the instance again"),
            (GONE, "The instance no longer exists"),
            (SET_ASIDE, "The new value never reached the instance: set it aside"),
        ],
        initial=AGAIN,
        widget=forms.RadioSelect,
        error_messages={"required": "Choose one."},
    )
    reason = reason_field()

    def __init__(self, data: Mapping[str, Any] | None = None, *, has_pending: bool = True) -> None:
        super().__init__(data, auto_id="resolve_%s")
        if not has_pending:  # there is nothing to set aside
            field = self.fields["decision"]
            field.choices = [choice for choice in field.choices if choice[0] != SET_ASIDE]  # type: ignore[attr-defined]
