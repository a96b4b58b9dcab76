"""The journal in a PostgreSQL other than Keyturn's own.

One table, which a command makes and no rotation: a PostgreSQL that was set up again has none, and is not
taken for the journal. A line counts once its commit has reached the disk there. Each use has a connection of
its own: rotations are rare, and one that was kept may have been cut since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from secrets_app.crypto import key_files
from secrets_app.journal.places import Away, Written

if TYPE_CHECKING:
    import psycopg

SCHEMES = ("postgresql://", "postgres://")
SECONDS = 5  # for connecting, and for a statement
#: For this connection, whatever is set for others there: PostgreSQL 16, "WAL - Settings". The time is in ms.
_OPTIONS = f"-c synchronous_commit=on -c statement_timeout={SECONDS}000 -c lock_timeout={SECONDS}000"
_MAKE = """
    CREATE TABLE keyturn_journal (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        line bytea NOT NULL
    )
"""


class DatabaseJournal:
    """One table `keyturn_journal`, in the database at `address`.

    `address` is libpq's, without a password; that stands in `password_file`, if one is needed, and is read
    for each connection.
    """

    def __init__(self, address: str, password_file: Path | None = None) -> None:
        self._address, self._password_file = address, password_file

    def __str__(self) -> str:
        return self._address.partition("?")[0]

    def make(self) -> None:
        with self._connected() as connection:
            connection.execute(_MAKE)

    def append(self, line: bytes) -> None:
        with self._connected() as connection:
            connection.execute("INSERT INTO keyturn_journal (line) VALUES (%s)", [line])

    def check(self) -> None:
        with self._connected() as connection:
            # As `append` would, and nothing stays; a sequence has gaps, which mean nothing.
            connection.execute("BEGIN")
            connection.execute("INSERT INTO keyturn_journal (line) VALUES ('')")
            connection.execute("ROLLBACK")

    def lines(self) -> Iterator[bytes]:
        with self._connected() as connection, connection.transaction():
            cursor = connection.cursor(name="journal")
            cursor.itersize = 500
            for (line,) in cursor.execute("SELECT line FROM keyturn_journal ORDER BY number"):
                assert isinstance(line, bytes)
                yield line

    def written(self) -> Written:
        with self._connected() as connection:
            row = connection.execute(
                "SELECT pg_total_relation_size('keyturn_journal'),"
                " (SELECT written_at FROM keyturn_journal ORDER BY number DESC LIMIT 1)"
            ).fetchone()
        assert row is not None
        size, at = row
        assert isinstance(size, int)
        assert at is None or isinstance(at, datetime)
        return Written(size, at)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        """Connect; whatever fails then says which place, and what is known of why."""
        import psycopg  # an installation on SQLite that keeps no such journal never needs it
        from psycopg import errors

        try:
            with psycopg.connect(
                self._address, password=self._password(), autocommit=True, connect_timeout=SECONDS,
                tcp_user_timeout=SECONDS * 1000, options=_OPTIONS, application_name="keyturn journal",
            ) as connection:  # fmt: skip
                yield connection
        except errors.UndefinedTable:
            raise Away(f"There is no credential journal in {self}. Run: journal init.") from None
        except errors.DuplicateTable:
            raise Away(f"There is a credential journal in {self}.") from None
        except (psycopg.Error, UnicodeError) as error:
            raise Away(f"The credential journal in {self} cannot be used ({_reason(error)}).") from None

    def _password(self) -> str | None:
        if self._password_file is None:
            return None
        try:
            return key_files.read_private(self._password_file)
        except key_files.Unreadable as error:
            raise Away(str(error)) from None


def _reason(error: Exception) -> str:
    """PostgreSQL's own short words, which hold no value; else what kind of error it is."""
    import psycopg

    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return "it does not answer" if isinstance(error, psycopg.OperationalError) else type(error).__name__
