"""What a script on a host has found, as key and value, and the lines of a checklist that are made of it.

Everything that comes from the host is capped and stripped of what cannot be printed.
"""

from __future__ import annotations

import re

from rotation.connectors.base import Check, Mark
from rotation.connectors.ssh import reasons

_SHOWN_CHARACTERS = 100


class Findings:
    """Facts from the host: `put` for each, then read."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def put(self, line: str) -> None:
        """Take one `key=value`; a line without a key is dropped."""
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[a-z_]{1,40}", key):
            self._found.setdefault(key, []).append("".join(c for c in value[:256] if c.isprintable()))

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def every(self, key: str) -> list[str]:
        """Each value of a key that may be there several times."""
        return self._found.get(key, [])

    def first(self, key: str) -> str:
        """The first value; empty where there is none."""
        return self._found.get(key, [""])[0]

    def shown(self, key: str) -> str:
        """The first value, short enough for a sentence."""
        return self.first(key)[:_SHOWN_CHARACTERS]

    def number(self, key: str) -> int | None:
        """The first value as a number; None where it is none."""
        text = self.first(key)
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def passed(name: str, sentence: str) -> Check:
    """A line of the checklist that is in order."""
    return Check(name, Mark.PASSED, sentence)


def warning(name: str, sentence: str, *, word: str = "") -> Check:
    """A warning: shown, and does not stop a rotation."""
    return Check(name, Mark.WARNING, sentence, word)


def unknown(name: str, sentence: str) -> Check:
    """A line that could not be answered."""
    return Check(name, Mark.UNKNOWN, sentence)


def blocked(word: str, *, name: str = "", sentence: str = "") -> Check:
    """A line that forbids a rotation, for the reason that this word names."""
    return Check(name or word, Mark.BLOCKED, sentence or reasons.sentence(word), code=word)
