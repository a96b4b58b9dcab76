"""The fields for a value of a generic secret: a text, JSON by its keys or as a text, or a file.

A value becomes a `Plaintext` as it is read and is never written into a page again, not even after an error.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from console.forms.secrets.key_pair import Unrendered
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import GENERIC_VALUE_LIMIT_BYTES
from secrets_app.secrets import generic, versions

TEXT, PAIRS, JSON, BINARY = "text", "pairs", "json", "binary"
FORMATS = (
    (TEXT, "Text"),
    (PAIRS, "JSON, keys and values"),
    (JSON, "JSON, plain text"),
    (BINARY, "Binary, a file"),
)
#: Which field holds the value in each format.
FIELD_OF = {TEXT: "value", JSON: "value", PAIRS: "pairs", BINARY: "file"}
MISSING = {TEXT: "Enter a value.", PAIRS: "Enter a key and its value.", BINARY: "Choose a file."}
#: What a report of an error leaves out.
SENSITIVE = ("value", "pairs_key", "pairs_value")


class TextField(forms.Field):
    """Any text, as it stands."""

    widget = Unrendered

    def to_python(self, value: Any) -> Plaintext | None:
        # A form sends each line end as CR LF, whatever was typed.
        return Plaintext(str(value).replace("\r\n", "\n")) if value else None


class PairsInput(forms.Widget):
    """Rows of a key and a value, sent as `NAME_key` and `NAME_value`; the template writes them, empty."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> tuple[list[str], list[str]]:
        return data.getlist(f"{name}_key"), data.getlist(f"{name}_value")

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}_key" not in data


class PairsField(forms.Field):
    """A JSON object, by its keys and values; rows without both do not count."""

    widget = PairsInput

    def to_python(self, value: Any) -> Plaintext | None:
        keys, texts = value
        if len(keys) != len(texts):
            raise ValidationError("Send each key with its value.")
        pairs = [(key, text) for key, text in zip(keys, texts, strict=True) if key or text]
        if not all(key for key, _ in pairs):
            raise ValidationError("Enter a key for each value.")
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValidationError("A key is entered twice. Enter each key once.")
        return Plaintext(json.dumps(dict(pairs), ensure_ascii=False)) if pairs else None


class BinaryField(forms.Field):
    """A file, which becomes Base64. Its name is not kept."""

    widget = forms.FileInput(attrs={"class": "input"})

    def to_python(self, value: Any) -> Plaintext | None:
        # One byte more than is allowed is enough to refuse it.
        read = value.read(GENERIC_VALUE_LIMIT_BYTES + 1) if value else b""
        return Plaintext(base64.b64encode(read).decode()) if read else None


class GenericValue(forms.Form):
    """A value, and what it is."""

    format = forms.ChoiceField(label="Format", choices=FORMATS, initial=TEXT, widget=forms.RadioSelect)
    value = TextField(
        label="Secret value",
        required=False,
        help_text=f"1 to {GENERIC_VALUE_LIMIT_BYTES:,} bytes. JSON is stored as it is typed.",
    )
    pairs = PairsField(
        label="Keys and values",
        required=False,
        help_text="They are stored as one JSON object. Rows that are empty do not count.",
    )
    file = BinaryField(
        label="File",
        required=False,
        help_text=f"1 to {GENERIC_VALUE_LIMIT_BYTES:,} bytes. The name of the file is not stored.",
    )
    #: Of the version that this makes: the same form, sent twice, makes it once.
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = {"token": uuid.uuid4()} | kwargs.pop("initial", {})
        super().__init__(*args, **{"auto_id": "generic_%s", "initial": initial} | kwargs)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        chosen = given.get("format")
        if chosen and not self.errors.get(FIELD_OF[chosen]):
            value: Plaintext | None = given.get(FIELD_OF[chosen])
            problem = _problem(value, chosen) if value else MISSING.get(chosen, MISSING[TEXT])
            if problem:
                self.add_error(FIELD_OF[chosen], problem)
        return given

    @property
    def value_field(self) -> str:
        """The field that holds the value."""
        return FIELD_OF[self.cleaned_data["format"]]

    @property
    def stored(self) -> versions.Value:
        return _value(self.cleaned_data[self.value_field], self.cleaned_data["format"])


def _value(value: Plaintext, chosen: str) -> versions.Value:
    return versions.Value("", binary=value) if chosen == BINARY else versions.Value("", text=value)


def _problem(value: Plaintext, chosen: str) -> str:
    """What is wrong with this value, without a part of it; empty where it is right."""
    text = value.reveal()
    if chosen != BINARY and "\0" in text:
        return "A text has no NUL character. Choose a file instead."
    if chosen == JSON:
        try:
            json.loads(text)
        except ValueError as error:
            at = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            return f"This is not JSON{at}."
        except RecursionError:
            return "This JSON is nested too deeply."
    length = generic.length_bytes(_value(value, chosen))
    return "" if 1 <= length <= GENERIC_VALUE_LIMIT_BYTES else str(generic.TooLarge.__doc__)
