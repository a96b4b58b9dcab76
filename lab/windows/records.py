"""What one simulated host has seen and would have written down, searchable for a value."""

from __future__ import annotations

import base64
import threading

#: Where a value may arrive: only here is it not written down by Windows.
STDIN = "stdin"


class Record:
    """Every command line, input, output and event of a host, in order."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, bytes]] = []
        self._known: dict[bytes, bytes] = {}  # each text once: the scripts are the same every time
        self._lock = threading.Lock()

    def add(self, place: str, text: str | bytes) -> None:
        """Note that this appeared at `place`: `command line`, `stdin`, `stdout`, `event 4688`, ..."""
        whole = text.encode() if isinstance(text, str) else text
        with self._lock:
            self._entries.append((place, self._known.setdefault(whole, whole)))

    def places(self, value: str) -> set[str]:
        """Where the value appears: as it is, in UTF-16LE, in base64 or hex of either, at any offset."""
        needles = forms(value)
        with self._lock:
            entries = set(self._entries)
        return {place for place, text in entries if any(needle in text for needle in needles)}

    def of(self, place: str) -> list[str]:
        """Everything of one place, as text."""
        with self._lock:
            return [text.decode(errors="replace") for where, text in self._entries if where == place]


class Nothing(Record):
    """Of a host that runs for days, and that no test searches."""

    def add(self, place: str, text: str | bytes) -> None:
        """Forget it."""


def forms(value: str) -> set[bytes]:
    """The byte strings by which a text of which `value` is a part can be recognized."""
    found: set[bytes] = set()
    for plain in (value.encode(), value.encode("utf-16-le")):
        found |= {plain, plain.hex().encode(), plain.hex().upper().encode()}
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + plain)
            # The characters at both ends depend on what stands before and behind.
            start = {0: 0, 1: 2, 2: 3}[shift]
            end = len(coded.rstrip(b"=")) - (0 if (len(plain) + shift) % 3 == 0 else 1)
            if end - start >= 6:
                found.add(coded[start:end])
    return found
