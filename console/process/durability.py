"""Hold PostgreSQL to what a commit promises: that it is on the disk before a host hears of it.

A commit that the server may still lose is worse than one that fails, since the host has the value by then.
So our own sessions wait for the disk and override the settings of the server, the database and the role. The
settings that only the server's administrator can change are reported by `manage.py check --database default`
and at `setup`.

A transaction whose client is suspended would keep its run locked. The server ends it when a lease would have
ended. A client that is gone without a word, as with its container, would hold the head of the audit trail for
as long, and every other writer would wait: the server asks by TCP whether it is there, and gives it up after
eleven seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

# `remote_apply` waits for the disk too, and for more; the other values wait for less.
_WAIT_FOR_THE_DISK = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""
# Half a transaction does nothing but ask the database, so it is never idle for long.
_END_WHAT_IS_LEFT = """
    SELECT set_config('idle_in_transaction_session_timeout', %(most)s::text, false) FROM pg_settings
    WHERE name = 'idle_in_transaction_session_timeout' AND setting::int NOT BETWEEN 1 AND %(most)s
"""
# In seconds, and a number; a socket of this machine has none. PostgreSQL 16, "Connection Settings".
_ASK_WHETHER_IT_IS_THERE = """
    SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
        set_config('tcp_keepalives_count', '3', false)
"""
_SERVER = {
    "fsync": (
        "console.E001",
        "PostgreSQL does not wait for the disk: a power failure can lose values that hosts have already.",
    ),
    "full_page_writes": (
        "console.E002",
        "PostgreSQL does not keep whole pages in its log: a power failure can destroy the database.",
    ),
}


@receiver(connection_created)
def begin(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Have the commits of a new session wait for the disk, and what it leaves open end."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_WAIT_FOR_THE_DISK)
            cursor.execute(_ASK_WHETHER_IT_IS_THERE)
            cursor.execute(_END_WHAT_IS_LEFT, {"most": int(settings.LEASE.total_seconds() * 1000)})


@checks.register(checks.Tags.database)
def server_is_durable(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Report settings under which the server may lose a commit; none if no database is to be asked."""
    messages: list[checks.CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                messages += shortcomings(cursor)
    return messages


def shortcomings(cursor: Any) -> list[checks.CheckMessage]:
    """Ask a PostgreSQL server, by a cursor of it, for settings with which it may lose what it committed."""
    messages: list[checks.CheckMessage] = []
    for name, (number, sentence) in _SERVER.items():
        cursor.execute("SELECT current_setting(%s)", [name])
        if cursor.fetchone()[0] != "on":
            hint = f"Set {name} = on in postgresql.conf and reload PostgreSQL."
            messages.append(checks.Error(sentence, hint=hint, id=number))
    return messages
