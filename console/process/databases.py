"""What is wrong with the database, as far as its error says; and how a process gets over it.

The words are the databases' own: SQLSTATE, PostgreSQL 16, Appendix A; SQLite, "Result and Error Codes".
"""

from __future__ import annotations

import enum
import sqlite3
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class Trouble(enum.Enum):
    """Why the database did not do what was asked; each passes without a restart of Keyturn."""

    AWAY = "away"  # it does not answer
    READ_ONLY = "read-only"  # it answers, and takes no changes
    FULL = "full"  # its disk is full
    BUSY = "busy"  # another process has kept it locked
    CROWDED = "crowded"  # it has as many connections as it takes
    SLOW = "slow"  # it has not answered a statement in time
    UNTRUSTED = "untrusted"  # it shows a certificate that this machine does not accept
    NOT_SET_UP = "not set up"  # it has no table of ours


_SQLSTATES = {
    "25006": Trouble.READ_ONLY,
    "53100": Trouble.FULL,
    "55P03": Trouble.BUSY,
    "42P01": Trouble.NOT_SET_UP,
    "53300": Trouble.CROWDED,
    "57014": Trouble.SLOW,
}
#: What PostgreSQL says where a connection is refused, for which libpq hands on no SQLSTATE. In another
#: language of the server it reads as one that does not answer.
_CROWDED = ("too many clients", "too many connections", "remaining connection slots are reserved")
#: What libpq says where `sslmode` asks for a verified certificate; the words are its own and OpenSSL's.
_UNTRUSTED = ("certificate verify failed", "does not match host name", "root certificate file")
# A lower one that the role or the server has set stays.
_LIMIT = """
    SELECT set_config('statement_timeout', %(most)s::text, false) FROM pg_settings
    WHERE name = 'statement_timeout' AND setting::int NOT BETWEEN 1 AND %(most)s
"""
_SQLITE = {
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
}


def limit_statements() -> None:
    """Have PostgreSQL end a statement of this process that takes too long. Only for what users wait for.

    Otherwise some pages that wait for a lock, or for a disk that hardly answers, would hold every thread.
    """
    connection_created.connect(_limit, dispatch_uid="limit statements")


def _limit(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LIMIT, {"most": settings.STATEMENT_SECONDS * 1000})


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
        if isinstance(error, OperationalError) and any(words in str(error) for words in _UNTRUSTED):
            return Trouble.UNTRUSTED
        error = error.__cause__ or (error.__context__ if isinstance(error, DatabaseError) else None)
    return Trouble.AWAY if is_of_database else None
