"""Which services, scheduled tasks and application pools are given each new value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from rotation.models import Dependant, ManagedAccount


class NamesField(forms.Field):
    """`kind:name` of any number of them, as boxes with one name send them."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[tuple[str, str]]:
        return [_read(text) for text in value or ()]


def _read(text: str) -> tuple[str, str]:
    kind, _, name = text.partition(":")
    if kind not in Dependant.Kind.values or not 0 < len(name) <= 300 or not name.isprintable():
        raise ValidationError("Choose dependants from the list.")
    return kind, name


class Dependants(forms.Form):
    """A choice among those that are known, and whether they are restarted."""

    chosen = forms.MultipleChoiceField(
        label="Give each new value to",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "One of these is not known any more. Choose again."},
    )
    restarts = forms.BooleanField(
        label="Restart those that are running",
        required=False,
        help_text="Each is stopped and started again once it has the new value. Without it, what runs "
        "continues and uses the new value at its next start.",
    )

    def __init__(self, data: Mapping[str, Any] | None, *, account: ManagedAccount) -> None:
        rows = list(account.dependants.all())
        initial = {
            "chosen": [row.key for row in rows if row.is_chosen],
            "restarts": account.restarts_dependants,
        }
        super().__init__(data, auto_id="dependants_%s", initial=initial)
        self.fields["chosen"].choices = [(row.key, str(row)) for row in rows]  # type: ignore[attr-defined]

    def keys(self) -> list[tuple[str, str]]:
        """The kind and the name of each that was chosen."""
        return [_read(text) for text in self.cleaned_data["chosen"]]


def read(lines: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return those that the checklist of an account names: value of a box, and what it is called."""
    keys = [key for line in lines for key in line.get("keys", "").split("\n") if key]
    labels = dict(Dependant.Kind.choices)
    return [(key, f"{labels.get(key.partition(':')[0], '')} {key.partition(':')[2]}") for key in keys]
