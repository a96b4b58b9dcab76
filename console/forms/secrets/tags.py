"""Tags as people type them: key=value, one on each line."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.exceptions import ValidationError

from secrets_app.secrets import lifecycle


def read_tags(text: str) -> dict[str, str]:
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
        lifecycle.check_tags(tags)
    except lifecycle.BadTag as error:
        raise ValidationError(str(error)) from None
    return tags


def write_tags(tags: Mapping[str, str]) -> str:
    """Return tags as `read_tags` takes them."""
    return "\n".join(f"{key}={value}" if value else key for key, value in tags.items())
