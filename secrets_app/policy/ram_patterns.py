"""Wildcards of RAM: `*` is any run of characters, `?` is one."""

from __future__ import annotations

import functools
import re

PATTERN_LIMIT = 700  # characters; an ARN is never longer


def matches(pattern: str, text: str) -> bool:
    """Whether `text` fits `pattern`: * stands for any characters, ? for one, and case counts.

    Goes back to the last * only, so that no pattern takes more than len(pattern) * len(text) steps.
    """
    begin, rest = _split(pattern)
    if not rest:
        return text == begin
    if not text.startswith(begin):
        return False
    return rest == "*" or _follow(rest, text[len(begin) :])


@functools.lru_cache(maxsize=8192)
def _split(pattern: str) -> tuple[str, str]:
    """What stands before the first * or ?, and what is left."""
    plain = re.match(r"[^*?]*", pattern)
    end = plain.end() if plain else 0
    return pattern[:end], pattern[end:]


def _follow(pattern: str, text: str) -> bool:
    at = star = -1
    p = t = 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, at = p, t
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", text[t]):
            p, t = p + 1, t + 1
        elif star >= 0:
            at += 1
            p, t = star + 1, at
        else:
            return False
    return all(character == "*" for character in pattern[p:])
