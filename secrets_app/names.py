"""Which character of a name may not stand there, said so that a user can find it."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator


def stranger(name: str, allowed: str) -> str:
    """Return a sentence on the first character of `name` that is not in `allowed`; empty if there is none.

    `allowed` is what stands between the brackets of a regular expression.
    """
    found = re.search(f"[^{allowed}]", name)
    if found is None:
        return ""
    character = found[0]
    if character == " ":
        return "A space is not allowed."
    called = character if character.isprintable() and not character.isspace() else f"U+{ord(character):04X}"
    return f"The character {called} is not allowed."


class Only(RegexValidator):
    """A validator that names the first character that is not allowed, and then says which ones are."""

    def __init__(self, allowed: str, rule: str, pattern: str = "") -> None:
        super().__init__(pattern or rf"^[{allowed}]+\Z", rule)
        self.allowed = allowed

    def __call__(self, value: object) -> None:
        if not re.search(self.regex, str(value)):
            said = stranger(str(value), self.allowed)
            raise ValidationError(f"{said} {self.message}".strip(), code=self.code)
