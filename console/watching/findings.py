"""What a check found: how it stands, what is wrong, and what to do.

A check that could not be made is unknown, and never ok: nothing is concluded from a question that was not
answered. A sentence holds no secret, and no words of a database or a broker, which may hold an address with
its password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db import DatabaseError, InterfaceError

from console.process import databases
from secrets_app.errors import DomainError


class State(StrEnum):
    """How one thing stands, the better ones first."""

    OK = "ok"
    WARNING = "warning"  # it works, and may not for long
    UNKNOWN = "unknown"  # it could not be checked
    PROBLEM = "problem"  # it does not work, or is not safe


ORDER: Final = tuple(State)


@dataclass(frozen=True)
class Said:
    """The answer of one check."""

    state: State
    sentence: str
    advice: str = ""
    away: str = ""  # what is away, where no other check of the database needs to be made


def ok(sentence: str) -> Said:
    return Said(State.OK, sentence)


def warning(sentence: str, advice: str) -> Said:
    return Said(State.WARNING, sentence, advice)


def problem(sentence: str, advice: str, *, away: str = "") -> Said:
    return Said(State.PROBLEM, sentence, advice, away)


def unknown(sentence: str, advice: str) -> Said:
    return Said(State.UNKNOWN, sentence, advice)


@dataclass(frozen=True)
class Check:
    """One question about the installation."""

    name: str  # for programs; it stays
    title: str
    ask: Callable[[], Said]
    asks_database: bool = False


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    name: str
    title: str
    state: State
    sentence: str
    advice: str = ""


_TROUBLES: Final = {
    databases.Trouble.AWAY: "the database does not answer",
    databases.Trouble.READ_ONLY: "the database takes no changes",
    databases.Trouble.FULL: "the database's disk is full",
    databases.Trouble.BUSY: "the database is locked by another process",
    databases.Trouble.CROWDED: "the database has no connection left",
    databases.Trouble.SLOW: "the database did not answer in time",
    databases.Trouble.UNTRUSTED: "the database's certificate is not accepted",
    databases.Trouble.NOT_SET_UP: "the database is not set up",
}
#: With these no statement reaches the database at all.
_NOT_ASKED: Final = {
    databases.Trouble.AWAY,
    databases.Trouble.UNTRUSTED,
    databases.Trouble.NOT_SET_UP,
}
_ADVICE: Final = "Mend this, then check again."


def look(checks: Iterable[Check]) -> list[Finding]:
    """Make each check. Once the database did not answer, no other check waits for it."""
    found: list[Finding] = []
    away = ""
    for check in checks:
        if check.asks_database and away:
            said = unknown(f"Not checked: {away}.", _ADVICE)
        else:
            said, away = _asked(check, away)
        found.append(Finding(check.name, check.title, said.state, said.sentence, said.advice))
    return found


def _asked(check: Check, away: str) -> tuple[Said, str]:
    try:
        said = check.ask()
        return said, said.away or away
    except (DatabaseError, InterfaceError) as error:
        trouble = databases.trouble(error)
        words = _TROUBLES[trouble] if trouble else "the database refused the question"
        gone = words if trouble in _NOT_ASKED else away
        return unknown(f"Not checked: {words}.", _ADVICE), gone
    except _of_redis():
        return unknown("Not checked: Redis refused the question.", _ADVICE), away
    except DomainError as error:
        return unknown(f"Not checked: {error.sentence}", _ADVICE), away
    except OSError as error:
        return unknown(f"Not checked: {error.strerror or type(error).__name__}.", _ADVICE), away


def _of_redis() -> type[Exception]:
    """What Redis refuses with: asked for once something was raised, and loaded no sooner (see `away`)."""
    import redis

    return redis.RedisError


def worst(found: Iterable[Finding]) -> State:
    """The state of the whole: that of the worst of them."""
    return max((finding.state for finding in found), key=ORDER.index, default=State.OK)
