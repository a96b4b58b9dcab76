"""Empty the database between two tests that commit: the tables in which there is something, and no others.

Django's own way empties all of them and then writes every content type and permission again, which costs more
than most tests. What it leaves is kept here, and it is asked again where a test has changed any of that.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

from secrets_app.audit import append_only

Rows = dict[str, list[Any]]
_left: dict[str, Rows] = {}  # by Django, for each database: what an empty one holds
_by_django = TransactionTestCase._fixture_teardown


class Written:
    """How often content types and permissions were written again: each time they have other numbers."""

    times = 0


def empty(case: TransactionTestCase) -> None:
    """Empty every database of this case, as only the owner can: the audit trail refuses it otherwise."""
    append_only.lift()
    try:
        if not all(_emptied(alias) for alias in case._databases_names(include_mirrors=False)):
            _by_django(case)
            Written.times += 1
            for alias in case._databases_names(include_mirrors=False):
                _left[alias] = _rows(alias, _full(alias))
    finally:
        append_only.install()


def _emptied(alias: str) -> bool:
    """Empty this one; return whether it now holds what Django would have left."""
    if alias not in _left:
        return False
    quote = connections[alias].ops.quote_name
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        for table in _full(alias):
            if table not in _left[alias]:
                # In any order: a foreign key is looked at when the transaction ends.
                cursor.execute(f"DELETE FROM {quote(table)}")  # noqa: S608
    return _rows(alias, _full(alias)) == _left[alias]


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
