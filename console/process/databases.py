"""What is wrong with the database, as far as its error says; and how a process gets over it.

The words are the databases' own: SQLSTATE, PostgreSQL 16, Appendix A; SQLite, "Result and Error Codes".
"""

from __future__ import annotations

import enum
import sqlite3

from django.db import DatabaseError, InterfaceError, OperationalError, connection


class Trouble(enum.Enum):
    """Why the database did not do what was asked; each passes without a restart of Keyturn."""

    AWAY = "away"  # it does not answer
    READ_ONLY = "read-only"  # it answers, and takes no changes
    FULL = "full"  # its disk is full
    BUSY = "busy"  # another process has kept it locked
    CROWDED = "crowded"  # it has as many connections as it takes
    NOT_SET_UP = "not set up"  # it has no table of ours


_SQLSTATES = {
    "25006": Trouble.READ_ONLY,
    "53100": Trouble.FULL,
    "55P03": Trouble.BUSY,
    "42P01": Trouble.NOT_SET_UP,
    "53300": Trouble.CROWDED,
}
#: What PostgreSQL says where a connection is refused, for which libpq hands on no SQLSTATE. In another
#: language of the server it reads as one that does not answer.
_CROWDED = ("too many clients", "too many connections", "remaining connection slots are reserved")
_SQLITE = {
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
}


def passes(error: BaseException) -> bool:
    """Whether `error` is trouble of the database; a connection that would keep it is closed."""
    found = trouble(error)
    if found == Trouble.READ_ONLY:
        connection.close()  # one that began while it was so stays so
    return found is not None


def trouble(error: BaseException | None) -> Trouble | None:
    """Return what `error`, or what caused it, says of the database; None for any other error."""
    is_of_database = False
    while error is not None:
        is_of_database = is_of_database or isinstance(error, OperationalError | InterfaceError)
        if (known := _SQLSTATES.get(getattr(error, "sqlstate", None) or "")) is not None:
            return known
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # of an extended code, the plain one
            if code in _SQLITE:
                return _SQLITE[code]
            if "no such table" in str(error):
                return Trouble.NOT_SET_UP
        if isinstance(error, OperationalError) and any(words in str(error) for words in _CROWDED):
            return Trouble.CROWDED
        error = error.__cause__ or (error.__context__ if isinstance(error, DatabaseError) else None)
    return Trouble.AWAY if is_of_database else None
