"""The database itself refuses to change or delete an event or a checkpoint.

Put in place after every migration, and again if it was taken away: by triggers on both databases, and on
PostgreSQL by the privileges of our own role as well. The owner of the tables or a superuser can undo
both; that much the chain and the exported checkpoints make evident.
"""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from secrets_app.models import AuditCheckpoint, AuditEvent

SENTENCE = "The audit trail is only ever added to."
TABLES = (AuditEvent._meta.db_table, AuditCheckpoint._meta.db_table)
_REFUSE = f"""
    CREATE OR REPLACE FUNCTION keyturn_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{SENTENCE}' USING ERRCODE = 'insufficient_privilege'; END $$
"""


def install(alias: str = "default") -> None:
    """Refuse from now on; safe to repeat."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_REFUSE)
        for table in TABLES:
            for statement in _installing(connection, table):
                cursor.execute(statement)


def lift(alias: str = "default") -> None:
    """Take it away, as only the owner of the tables can. Nothing in Keyturn calls this."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        for table in TABLES:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_rows ON {table}")
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_all ON {table}")
                cursor.execute(f"GRANT UPDATE, DELETE, TRUNCATE ON {table} TO CURRENT_USER")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_update")
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_delete")


def after_migration(using: str = "default", **_: Any) -> None:
    """Receive Django's signal: the tables are there now."""
    if set(TABLES) <= set(connections[using].introspection.table_names()):
        install(using)


def _installing(connection: BaseDatabaseWrapper, table: str) -> list[str]:
    if connection.vendor == "postgresql":
        return [
            f"DROP TRIGGER IF EXISTS {table}_rows ON {table}",
            f"CREATE TRIGGER {table}_rows BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION keyturn_append_only()",
            f"DROP TRIGGER IF EXISTS {table}_all ON {table}",
            f"CREATE TRIGGER {table}_all BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION keyturn_append_only()",
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM PUBLIC, CURRENT_USER",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {table}_{event.lower()} BEFORE {event} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
        for event in ("UPDATE", "DELETE")
    ]
