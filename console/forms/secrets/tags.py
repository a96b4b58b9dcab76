"""The description and the tags of a secret, as users type them: a tag is key=value, on a line of its own.

A program can store tags that such a line does not tell: a key with =, or with a blank at its end. Both halves
of these are written as JSON strings, `"a=b"="c"`, so that a form that is saved unchanged changes no tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from console.forms import lines
from secrets_app.models import TAG_LIMIT
from secrets_app.secrets import lifecycle


class DescriptionAndTags(forms.Form):
    """What users write about a secret."""

    tag_limit = TAG_LIMIT

    description = forms.CharField(
        label="Secret Description",
        required=False,
        max_length=lifecycle.DESCRIPTION_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tags"].help_text = f"One key=value on each line, at most {self.tag_limit}."

    def clean_description(self) -> str:
        # A browser ends each line so, whatever it was sent.
        return str(self.cleaned_data["description"]).replace("\r\n", "\n")

    def clean_tags(self) -> dict[str, str]:
        return read_tags(self.cleaned_data["tags"], most=self.tag_limit)


def read_tags(text: str, *, most: int = TAG_LIMIT) -> dict[str, str]:
    """Return the tags in `text`. Raises ValidationError with the sentence that a form shows."""
    tags: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        key, value = _halves(line.strip())
        if not key:
            raise ValidationError("Write each tag as key=value.")
        if key in tags:
            raise ValidationError(f"The key {key} is listed twice. A secret has each key once.")
        tags[key] = value
    try:
        lifecycle.check_tags(tags, most=most)
    except lifecycle.BadTag as error:
        raise ValidationError(str(error)) from None
    return tags


def write_tags(tags: Mapping[str, str]) -> str:
    """Return tags as `read_tags` takes them, each as it is."""
    return "\n".join(_line(key, value) for key, value in tags.items())


def _line(key: str, value: str) -> str:
    line = f"{key}={value}" if value else key
    if lines.is_line(line) and _halves(line.strip()) == (key, value):
        return line
    return f"{lines.quoted(key)}={lines.quoted(value)}"


def _halves(line: str) -> tuple[str, str]:
    """The key and the value in a line: two JSON strings, or what is before the first = and after it."""
    key, end = lines.unquoted(line)
    rest = line[end:].lstrip()
    if key is not None and rest.startswith("="):
        written = rest[1:].strip()
        value, end = lines.unquoted(written)
        if value is not None and end == len(written):
            return key, value
    before, _, after = line.partition("=")
    return before.strip(), after.strip()
