"""The forms of generic secrets: a first value, the next one, and the labels of a version."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django import forms
from django.db.models import QuerySet

from console.forms import lines
from console.forms.secrets.generic_value import GenericValue
from console.forms.secrets.tags import DescriptionAndTags
from secrets_app import keyring, names
from secrets_app.models import (
    GENERIC_NAME_LENGTH,
    GENERIC_TAG_LIMIT,
    NAME_CHARACTERS,
    NAME_PATTERN,
    Key,
    Secret,
)
from secrets_app.secrets import lifecycle

LABEL_LENGTH = 256


class SelectType(forms.ChoiceField):
    """What a secret is: each type has a form of its own, to which the choice leads."""

    def __init__(self, chosen: str) -> None:
        super().__init__(
            label="Select Type",
            required=False,
            choices=Secret.Type.choices,
            initial=chosen,
            # The same in both forms: the focus stays on the choice while one takes the place of the other.
            widget=forms.RadioSelect(attrs={"id": "select-type"}),
        )


class Reminder(forms.Form):
    """After how many days a value is to be replaced."""

    reminder = forms.IntegerField(
        label="Reminder, in days",
        required=False,
        min_value=1,
        max_value=lifecycle.REMINDER_DAYS_AT_MOST,
        help_text="A value that is older is listed as overdue.",
        error_messages={"invalid": "Enter a number of days."},
    )

    @property
    def reminder_days(self) -> int:
        """0 for no reminder."""
        return self.cleaned_data["reminder"] or 0


class CreateGeneric(GenericValue, DescriptionAndTags, Reminder):
    """A generic secret with its first value."""

    tag_limit = GENERIC_TAG_LIMIT

    type = SelectType(Secret.Type.GENERIC)
    name = forms.CharField(
        label="Secret name",
        max_length=GENERIC_NAME_LENGTH,
        help_text=f"1 to {GENERIC_NAME_LENGTH} letters, digits and / _ + = . @ -",
        validators=[names.Only(NAME_CHARACTERS, "Use letters, digits and / _ + = . @ -", NAME_PATTERN)],
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    key = forms.ModelChoiceField(
        label="Encryption key",
        queryset=Key.objects.none(),
        to_field_name="alias",
        empty_label=None,
        initial=keyring.DEFAULT_ALIAS,
        error_messages={
            "invalid_choice": "Choose a key from the list: this one is disabled or no longer exists."
        },
    )

    def __init__(self, *args: Any, keys: QuerySet[Key], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].queryset = keys  # type: ignore[attr-defined]


class EditValue(GenericValue):
    """The next value, which says in the place of which version it is meant."""

    replaces = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)


class Labels(forms.Form):
    """The custom labels of a version, and whether it is to be the current one."""

    labels = forms.CharField(
        label="Custom labels",
        required=False,
        max_length=40_000,
        help_text="One on each line. A label that another version has moves to this one.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )
    becomes_current = forms.BooleanField(
        label="Make this version the current one",
        required=False,
        help_text="Programs that name no version read it from then on.",
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, had: Collection[str]) -> None:
        super().__init__(data, initial={"labels": "\n".join(lines.write(name) for name in had)})
        self.had = had

    def clean_labels(self) -> list[str]:
        found = [lines.read(line) for line in self.cleaned_data["labels"].splitlines() if line.strip()]
        for name in found:
            if not 1 <= len(name) <= LABEL_LENGTH:
                raise forms.ValidationError(f"A label has 1 to {LABEL_LENGTH} characters.")
            if name not in self.had and name.upper().startswith(("ACS", "AWS")):
                raise forms.ValidationError(f"{name} begins with ACS or AWS: these labels are Keyturn's own.")
        return found
