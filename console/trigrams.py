"""Indexes that a search for a part of a name uses on PostgreSQL: three letters at a time (pg_trgm).

Put in place after every migration, and safe to repeat. PostgreSQL comes with the extension, and lets the
owner of a database add it. Without it a search reads every name: the same rows, later. SQLite reads every
name too, from indexes that hold little else.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import DatabaseError, connections, transaction

from rotation.models import Instance, ManagedAccount
from secrets_app.models import Secret

log = logging.getLogger(__name__)

#: By the name of an index, whose column it is of. As Django writes `icontains`: UPPER(name) LIKE UPPER(...).
INDEXES: Final = {
    "secret_name_parts": (Secret, "name"),
    "instance_name_parts": (Instance, "name"),
    "instance_address_parts": (Instance, "address"),
    "instance_id_parts": (Instance, "instance_id"),
    "account_username_parts": (ManagedAccount, "username"),
}


def install(alias: str = "default") -> bool:
    """Make the indexes that are missing; return whether they are there."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return False
    try:
        with transaction.atomic(using=alias), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError as error:
        log.warning("Searches are slower: PostgreSQL's extension pg_trgm cannot be added (%s).", error)
        return False
    with connection.cursor() as cursor:
        for name, (model, column) in INDEXES.items():
            cursor.execute(
                f"CREATE INDEX IF NOT EXISTS {name} ON {model._meta.db_table} "
                f"USING gin (UPPER({column}::text) gin_trgm_ops)"
            )
    return True


def are_there(alias: str = "default") -> bool:
    """Whether a search uses them."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname = ANY(%s)", [list(INDEXES)])
        return bool(cursor.fetchone()[0] == len(INDEXES))


def after_migration(using: str = "default", **_: Any) -> None:
    """Receive Django's signal: the tables are there now."""
    tables = set(connections[using].introspection.table_names())
    if {model._meta.db_table for model, _ in INDEXES.values()} <= tables:
        install(using)
