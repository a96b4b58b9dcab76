"""What a person says about a key: its alias, where its values go, when it is destroyed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from secrets_app import names
from secrets_app.keys import key_states
from secrets_app.models import Key

LEAST, MOST = key_states.WINDOW_DAYS
NOT_THE_ALIAS = "Type the key's alias exactly as shown above."
OUT_OF_RANGE = f"Enter {LEAST} to {MOST} days."


class Create(forms.Form):
    """A new key."""

    alias = forms.CharField(
        label="Alias",
        max_length=80,
        help_text="For example team/payments. Policies refer to the key by its alias, so the alias "
        "cannot be changed later.",
        validators=[
            names.Only("A-Za-z0-9/_.-", str(key_states.BadAlias.__doc__), key_states.ALIAS_PATTERN),
        ],
        error_messages={"required": "Enter an alias."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    description = forms.CharField(
        label="Description",
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="key_%s")


class Rewrap(forms.Form):
    """Which key the values move to."""

    target = forms.ModelChoiceField(
        label="Rewrap to",
        queryset=Key.objects.none(),
        to_field_name="alias",
        empty_label=None,
        error_messages={
            "invalid_choice": "Choose a key from the list: this one is disabled or no longer exists."
        },
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, source: Key, targets: QuerySet[Key]) -> None:
        super().__init__(data, auto_id="rewrap_%s", initial={"target": source.alias})
        self.fields["target"].queryset = targets  # type: ignore[attr-defined]


class TypedAlias(forms.Form):
    """The key's alias, typed, before something that stops work."""

    alias = forms.CharField(
        label="Type the key's alias to confirm",
        max_length=80,
        error_messages={"required": NOT_THE_ALIAS},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, key: Key) -> None:
        super().__init__(data, auto_id="key_%s")
        self.key = key

    def clean_alias(self) -> str:
        if self.cleaned_data["alias"] != self.key.alias:
            raise ValidationError(NOT_THE_ALIAS)
        return self.key.alias


class Destroy(TypedAlias):
    """When a key, or a version of it, is destroyed."""

    days = forms.IntegerField(
        label=f"Destroy in ({LEAST}-{MOST} days)",
        initial=MOST,
        min_value=LEAST,
        max_value=MOST,
        help_text="Until then it cannot decrypt anything, and the destruction can be cancelled.",
        error_messages=dict.fromkeys(("invalid", "required", "min_value", "max_value"), OUT_OF_RANGE),
    )
    field_order = ("days", "alias")
