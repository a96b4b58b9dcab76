"""The description and the tags of a secret, as users type them: a tag is key=value, on a line of its own."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.core.exceptions import ValidationError

from secrets_app.models import TAG_LIMIT
from secrets_app.secrets import lifecycle


class DescriptionAndTags(forms.Form):
    """What users write about a secret."""

    description = forms.CharField(
        label="Secret Description",
        required=False,
        max_length=lifecycle.DESCRIPTION_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        help_text=f"One key=value on each line, at most {TAG_LIMIT}.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def clean_tags(self) -> dict[str, str]:
        return read_tags(self.cleaned_data["tags"])


def read_tags(text: str, *, most: int = TAG_LIMIT) -> dict[str, str]:
    """Return the tags in `text`. Raises ValidationError with the sentence that a form shows."""
    tags: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
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
    """Return tags as `read_tags` takes them."""
    return "\n".join(f"{key}={value}" if value else key for key, value in tags.items())
