"""Empty the database between two tests that commit: the tables in which there is something, and no others.

Django's own way empties all of them and then writes every content type and permission again, which costs more
than most tests. What it leaves is kept here, and it is asked again where a test has changed any of that.

On PostgreSQL one connection does this for all tests. A new one, as each test has it, would first read from
the catalog what a hundred tables look like, which costs more than emptying them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections, transaction
from django.test import TransactionTestCase
from psycopg import sql

from secrets_app.audit import append_only

Rows = dict[str, list[Any]]
_left: dict[str, Rows] = {}  # by Django, for each database: what an empty one holds
_by_django = TransactionTestCase._fixture_teardown


class Written:
    """How often content types and permissions were written again: each time they have other numbers."""

    times = 0


def empty(case: TransactionTestCase) -> None:
    """Empty every database of this case, as only the owner can: the audit trail refuses it otherwise."""
    aliases = list(case._databases_names(include_mirrors=False))
    if all(_emptied(alias) for alias in aliases):
        return
    append_only.lift()
    try:
        _by_django(case)
    finally:
        append_only.install()
    Written.times += 1
    for alias in aliases:
        _left[alias] = _rows(alias, _full(alias))
        if connections[alias].vendor == "postgresql":
            _Sweeper.of(alias, anew=True)


def end() -> None:
    """Close what is kept open: the databases are about to be dropped."""
    for sweeper in _Sweeper.kept.values():
        sweeper.close()
    _Sweeper.kept.clear()


def _emptied(alias: str) -> bool:
    """Empty this one; return whether it now holds what Django would have left."""
    if alias not in _left:
        return False
    if connections[alias].vendor == "postgresql":
        # What it may have left open would be waited for. The next test has a new one in any case.
        connections[alias].close()
        return _Sweeper.of(alias).sweep()
    quote = connections[alias].ops.quote_name
    append_only.lift()
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            for table in _full(alias):
                if table not in _left[alias]:
                    # In any order: a foreign key is looked at when the transaction ends.
                    cursor.execute(f"DELETE FROM {quote(table)}")  # noqa: S608
        return _rows(alias, _full(alias)) == _left[alias]
    finally:
        append_only.install()


class _Sweeper:
    """A connection to one PostgreSQL database that has a function to empty it, and no part in any test."""

    kept: dict[str, _Sweeper] = {}

    @classmethod
    def of(cls, alias: str, *, anew: bool = False) -> _Sweeper:
        """Return the one of this database, which the connection of a test may have been led away from."""
        settings = connections.settings[alias]
        place = {
            "host": settings["HOST"], "port": str(settings["PORT"]), "dbname": settings["NAME"],
            "user": settings["USER"], "password": settings["PASSWORD"] or None,
        }  # fmt: skip
        found = cls.kept.get(alias)
        if anew or not found or found.place != place or found.is_broken():
            if found:
                found.close()
            cls.kept[alias] = found = cls(alias, place)
        return found

    def __init__(self, alias: str, place: dict[str, Any]) -> None:
        """Connect, write the function, and note what an empty database holds."""
        self.place = place
        self._connection = psycopg.connect(**place, autocommit=True)
        # No trigger: neither the one that keeps the audit trail, nor the look at each foreign key. All goes.
        self._connection.execute("SET session_replication_role = replica")
        tables = connections[alias].introspection.django_table_names(include_views=False)
        self._connection.execute(_function(sorted(tables), sorted(_left[alias])))
        self._holds = self._swept()

    def sweep(self) -> bool:
        """Empty the database; return whether it is as Django left it, triggers and privileges included."""
        return self._swept() == self._holds

    def is_broken(self) -> bool:
        """Say whether a test has restarted the server, or ended all of its connections."""
        try:
            self._connection.execute("")
        except psycopg.OperationalError:
            return True
        return False

    def close(self) -> None:
        self._connection.close()

    def _swept(self) -> tuple[Any, ...]:
        found = self._connection.execute("SELECT pg_temp.sweep()").fetchone()
        assert found
        return tuple(found)


def _function(tables: list[str], left: list[str]) -> sql.Composed:
    """The function: to a session that stays, each of its statements is known after the first time."""
    delete = sql.SQL("IF EXISTS (SELECT FROM {0}) THEN DELETE FROM {0}; END IF;")
    rows = sql.SQL("(SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {0} t)")
    guards = sql.SQL(
        """(SELECT string_agg(
            concat_ws(' ', c.relacl, t.tgenabled, pg_get_triggerdef(t.oid), p.prosrc), chr(10) ORDER BY tgname
        ) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal)"""
    )
    body = sql.SQL("BEGIN {} RETURN concat_ws(chr(10), {}); END").format(
        sql.SQL(" ").join(delete.format(sql.Identifier(name)) for name in tables if name not in left),
        sql.SQL(", ").join([*(rows.format(sql.Identifier(name)) for name in left), guards]),
    )
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION pg_temp.sweep() RETURNS text LANGUAGE plpgsql AS $sweep$ {} $sweep$"
    ).format(body)


def _full(alias: str) -> list[str]:
    """The tables in which there is a row, all asked for at once."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    asked = (f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {quote(name)})" for name in sorted(tables))  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(asked))
        return [name for (name,) in cursor.fetchall()]


def _rows(alias: str, tables: list[str]) -> Rows:
    found, quote = {}, connections[alias].ops.quote_name
    with connections[alias].cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {quote(table)} ORDER BY 1")  # noqa: S608
            found[table] = cursor.fetchall()
    return found
