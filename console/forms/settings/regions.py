"""What a person says about a region: its code and its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.validators import RegexValidator

from secrets_app import regions

_ONE_LINE = RegexValidator(r"^[^\x00-\x1f\x7f]+\Z", "A name is one line without control characters.")


def _name_field() -> forms.CharField:
    return forms.CharField(
        label="Name",
        max_length=80,
        validators=[_ONE_LINE],
        help_text="What people read. It can be changed later.",
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class Create(forms.Form):
    """A new region."""

    code = forms.CharField(
        label="Code",
        max_length=40,
        help_text="Lower-case letters, digits and hyphens, for example eu-west. It stands in every ARN and "
        "every address of the region, so it cannot be changed later.",
        validators=[RegexValidator(rf"^{regions.CODE_PATTERN}\Z", regions.BadCode.default())],
        error_messages={"required": "Enter a code."},
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    name = _name_field()

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="region_%s")


class Rename(forms.Form):
    """Another name, in the place of the one that was shown."""

    name = _name_field()
    was = forms.CharField(max_length=80, widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, *, name: str) -> None:
        super().__init__(data, auto_id="rename_%s", initial={"name": name, "was": name})
