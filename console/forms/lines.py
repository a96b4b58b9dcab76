"""Lines in a field, each a text of its own: one that a line cannot tell is written as a JSON string.

Programs store texts with a blank at an end, or with line ends, and a form that is saved as it was shown must
give each back as it is.
"""

from __future__ import annotations

import json

_JSON = json.JSONDecoder()


def write(text: str) -> str:
    """Return the line that `read` takes for this text."""
    return text if is_line(text) and read(text) == text else quoted(text)


def read(line: str) -> str:
    """The text that a line stands for: a JSON string, or what is between its blanks."""
    line = line.strip()
    text, end = unquoted(line)
    return line if text is None or end < len(line) else text


def unquoted(line: str) -> tuple[str | None, int]:
    """The JSON string that begins a line and where it ends; None for none or one that cannot be stored."""
    if not line.startswith('"'):
        return None, 0
    try:
        text, end = _JSON.raw_decode(line)
        text.encode()
    except ValueError:  # half of a character is one, too
        return None, 0
    return (None, 0) if "\0" in text else (text, end)


def quoted(text: str) -> str:
    """A JSON string on one line; in plain letters unless one of them ends a line."""
    return json.dumps(text, ensure_ascii=not is_line(text))


def is_line(text: str) -> bool:
    return text.splitlines() == [text]
