"""The forms of generic secrets: a first value, and the next one.

A value becomes a `Plaintext` as it is read and is never written into a page again, not even after an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from typing import Any

from django import forms
from django.db.models import QuerySet

from console.forms.secrets.key_pair import Unrendered
from console.forms.secrets.tags import read_tags
from secrets_app import keyring, names
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import (
    GENERIC_NAME_LENGTH,
    GENERIC_TAG_LIMIT,
    GENERIC_VALUE_LIMIT_BYTES,
    NAME_CHARACTERS,
    NAME_PATTERN,
    Key,
)
from secrets_app.secrets import generic, lifecycle, versions

FORMATS = (("text", "Text"), ("json", "JSON"), ("binary", "Binary, in Base64"))


class TextField(forms.Field):
    """Any text, as it stands."""

    widget = Unrendered(
        attrs={
            "rows": 6,
            "autocomplete": "off",
            "autocapitalize": "none",
            "spellcheck": "false",
            "class": "textarea input-mono",
        }
    )

    def to_python(self, value: Any) -> Plaintext | None:
        # A form sends each line end as CR LF, whatever was typed.
        return Plaintext(str(value).replace("\r\n", "\n")) if value else None


class GenericValue(forms.Form):
    """A value, and what it is."""

    format = forms.ChoiceField(label="Format", choices=FORMATS, initial="text", widget=forms.RadioSelect)
    value = TextField(
        label="Secret value",
        help_text=f"1 to {GENERIC_VALUE_LIMIT_BYTES:,} bytes. JSON is stored as it is typed.",
        error_messages={"required": "Enter a value."},
    )
    #: Of the version that this makes: the same form, sent twice, makes it once.
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = {"token": uuid.uuid4()} | kwargs.pop("initial", {})
        super().__init__(*args, **{"auto_id": "generic_%s", "initial": initial} | kwargs)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        value, form = given.get("value"), given.get("format")
        if value is not None and form is not None:
            problem = _problem(value, form)
            if problem:
                self.add_error("value", problem)
        return given

    @property
    def stored(self) -> versions.Value:
        value = self.cleaned_data["value"]
        if self.cleaned_data["format"] == "binary":
            return versions.Value("", binary=Plaintext("".join(value.reveal().split())))
        return versions.Value("", text=value)


def _problem(value: Plaintext, form: str) -> str:
    """What is wrong with this text, without a part of it; empty where it is right."""
    text = value.reveal()
    if form == "binary":
        try:
            length = len(base64.b64decode("".join(text.split()), validate=True))
        except (ValueError, binascii.Error):
            return "This is not Base64."
    else:
        if "\0" in text:
            return "A text has no NUL character. Choose binary instead."
        length = len(value.encode())
    if form == "json":
        try:
            json.loads(text)
        except ValueError as error:
            at = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            return f"This is not JSON{at}."
        except RecursionError:
            return "This JSON is nested too deeply."
    if not 1 <= length <= GENERIC_VALUE_LIMIT_BYTES:
        return str(generic.TooLarge.__doc__)
    return ""


class CreateGeneric(GenericValue):
    """A generic secret with its first value."""

    field_order = ("name", "format", "value", "key", "description", "tags", "token")
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
    description = forms.CharField(
        label="Secret Description",
        required=False,
        max_length=lifecycle.DESCRIPTION_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        help_text=f"One key=value on each line, at most {GENERIC_TAG_LIMIT}.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, keys: QuerySet[Key], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].queryset = keys  # type: ignore[attr-defined]

    def clean_tags(self) -> dict[str, str]:
        return read_tags(self.cleaned_data["tags"], most=GENERIC_TAG_LIMIT)


class EditValue(GenericValue):
    """The next value, which says in the place of which version it is meant."""

    replaces = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
