"""What a place of the journal must be able to do, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from secrets_app.errors import DomainError


class Away(DomainError):
    """The credential journal cannot be written, so no instance is told a new value."""

    code = "journal_away"


@dataclass(frozen=True)
class Written:
    """What a place tells of itself: how many bytes are kept, if it says so, and when the newest line came."""

    size: int | None
    at: datetime | None


class Place(Protocol):
    """Where lines are kept, in the order in which they came. Everything here raises `Away`."""

    def __str__(self) -> str:
        """The place as a user names it; it holds no secret."""
        ...

    def make(self) -> None:
        """Make an empty journal; refuse to do so where there is one."""
        ...

    def append(self, line: bytes) -> None:
        """Keep one line, which ends with a line break; return once the disk has it.

        If it fails, the line is kept or not; a part of it never is.
        """
        ...

    def check(self) -> None:
        """Return if a line could be appended now."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Yield every line that is kept, the oldest first."""
        ...

    def written(self) -> Written: ...
