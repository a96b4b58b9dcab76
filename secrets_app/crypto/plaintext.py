"""The type of a value that must not be printed.

A `Plaintext` shows `***` where Python would print the value: `repr`, `str`, `format`, logs, tracebacks,
template output. It cannot be pickled, so it cannot travel in a task message, a cache or a session.
There is one way to the text, `reveal()`, and a reader can search for it.

Imports no other room: both the store and the connectors import it.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Plaintext:
    """A text value, held in memory only; `reveal()` is the one way out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Never put it in a message, a command line or a log record."""
        return self._text

    def encode(self) -> bytes:
        """The text in UTF-8."""
        return self._text.encode()

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        # Constant time: a comparison that stops at the first difference tells an attacker where it is.
        return isinstance(other, Plaintext) and hmac.compare_digest(self.encode(), other.encode())

    def __hash__(self) -> int:
        raise TypeError("a Plaintext is not hashable: a set or dict of values would outlive its use")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Plaintext cannot be pickled: it must not leave this process")

    __str__ = __repr__
