"""Rows that almost every test begins with, made once by the product and put there again for the tests after.

The cast, an instance and a secret take 250 statements, which was more than half of what most tests cost. What
the product wrote is kept, row by row, and written again where the store is just as it was then: its trail
ends with the same event of the same mac. Where not, the product does it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import time_machine
from django.apps import apps
from django.conf import UserSettingsHolder, settings
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from secrets_app.models import Account, AuditHead, KeyVersion
from tests import tables

Row = tuple[Any, ...]


class Table(NamedTuple):
    """How the rows of one table are read and written, as the store has them."""

    name: str
    key: str
    read: str
    write: str
    counter: str  # has PostgreSQL give no number that a row has already; nothing where it counts by itself


class Change(NamedTuple):
    """What was written to one table."""

    table: Table
    gone: dict[Any, Row]  # rows that were there and are not, or are not as they were, by their primary key
    rows: list[Row]


class _Otherwise(Exception):
    """A row is not as it was when the changes were kept: a test has changed it, and no event says so."""


#: Settings that no row depends on: where checkpoints are exported to, which a test of them has for itself.
WRITES_NO_ROW = {"AUDIT_EXPORT_FILE"}
_kept: dict[Hashable, list[Change]] = {}
#: States that come again, since nothing in them was made anew: an empty store, and what follows from it.
_known: set[Hashable] = set()


def begin(make: Callable[[], object]) -> bool:
    """Put the rows of an empty store there, which `make` makes; return whether it was empty."""
    is_empty = not Account.objects.exists()
    if is_empty:
        _known.add(_state())
    put_or_make("begin", make)
    return is_empty


def put_or_make(what: Hashable, make: Callable[[], object]) -> None:
    """Have the rows that `make` writes, by writing those that it wrote when all was as it is now."""
    if not _is_ordinary():
        make()
        return
    before = _state()
    if before not in _known:
        make()
        return
    key = (what, before)
    if key in _kept:
        try:
            with transaction.atomic():
                _write(_kept[key])
        except (IntegrityError, _Otherwise):  # something that leaves no event was there before
            make()
        return
    # The first time already: it comes again in the tests after, and to look costs a tenth of making it.
    rows = _rows()
    make()
    _kept[key] = _changes(rows, _rows())
    _known.add(_state())


def _is_ordinary() -> bool:
    """Whether neither the clock nor a setting is the test's own, which what is written may depend on.

    In a thread that the test began, what `make` locks matters too, and rows that are put lock nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if time_machine.escape_hatch.is_travelling() or _changed_settings() - WRITES_NO_ROW:
        return False
    return abs(timezone.now() - datetime.now(UTC)) < timedelta(minutes=1)


def _changed_settings() -> set[str]:
    """The names of the settings that are the test's own."""
    names: set[str] = set()
    layer = settings._wrapped
    while isinstance(layer, UserSettingsHolder):
        names |= {name for name in vars(layer) if name.isupper()} | layer._deleted
        layer = layer.default_settings
    return names


def _state() -> tuple[Hashable, ...]:
    """What decides which rows the product writes: the keys in their files, and all that was done so far."""
    files = (
        settings.ROOT_KEY_FILE,
        settings.AUDIT_KEY_FILE,
        settings.SEAL_KEY_FILE,
        settings.CHECKPOINT_KEY_FILE,
    )
    with connection.cursor() as cursor:
        return (
            connection.settings_dict["NAME"],
            tables.Written.times,  # a grant names its permission by number
            *(file.read_bytes() if file.exists() else b"" for file in files),
            *(_all(cursor, _table(model)) for model in (AuditHead, Account, KeyVersion)),
        )


@functools.cache
def _tables() -> list[Table]:
    """Every table of the product, those that are referred to before those that refer to them."""
    models = apps.get_models(include_auto_created=True)
    return [_table(model) for model in models if model._meta.managed and not model._meta.proxy]


@functools.cache
def _table(model: type[models.Model]) -> Table:
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    fields.sort(key=lambda field: not field.primary_key)  # the key comes first
    quote = connection.ops.quote_name
    columns = [quote(field.column) for field in fields]
    is_json = [connection.vendor == "postgresql" and isinstance(f, models.JSONField) for f in fields]
    read = [
        f"{column}::text" if as_text else column for column, as_text in zip(columns, is_json, strict=True)
    ]
    marks = ["%s::jsonb" if as_text else "%s" for as_text in is_json]
    table = quote(model._meta.db_table)
    return Table(
        table,
        columns[0],
        f"SELECT {', '.join(read)} FROM {table}",  # noqa: S608 - names of our models
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)})",  # noqa: S608
        _counter(table, model._meta.pk.column, columns[0]),
    )


def _counter(table: str, name: str, column: str) -> str:
    """A kept row brings its number, and a restore may have set the counter to a lower one since."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, name])
        [sequence] = cursor.fetchone()
    if not sequence:
        return ""
    last = f"(SELECT last_value FROM {sequence})"  # noqa: S608
    return f"SELECT setval('{sequence}', greatest(max({column}), {last})) FROM {table}"  # noqa: S608


def row(one: models.Model) -> Row:
    """This row as the store has it now, whatever was read of it before. Empty where it is gone."""
    table, key = _table(type(one)), type(one)._meta.pk
    with connection.cursor() as cursor:
        cursor.execute(f"{table.read} WHERE {table.key} = %s", [key.get_db_prep_value(one.pk, connection)])
        return tuple(cursor.fetchone() or ())


def _all(cursor: Any, table: Table) -> tuple[Row, ...]:
    cursor.execute(table.read)
    return tuple(tuple(found) for found in cursor.fetchall())


def _rows() -> dict[Table, dict[Any, Row]]:
    with connection.cursor() as cursor:
        return {table: {found[0]: found for found in _all(cursor, table)} for table in _tables()}


def _changes(before: dict[Table, dict[Any, Row]], after: dict[Table, dict[Any, Row]]) -> list[Change]:
    changes = []
    for table, rows in after.items():
        old = before[table]
        gone = {key: row for key, row in old.items() if rows.get(key) != row}
        new = [row for key, row in rows.items() if old.get(key) != row]
        if gone or new:
            changes.append(Change(table, gone, new))
    return changes


def _write(changes: list[Change]) -> None:
    with connection.cursor() as cursor:
        for table, gone, rows in changes:
            for key, old in gone.items():
                cursor.execute(f"{table.read} WHERE {table.key} = %s", [key])
                if tuple(cursor.fetchone() or ()) != old:
                    raise _Otherwise
                cursor.execute(f"DELETE FROM {table.name} WHERE {table.key} = %s", [key])  # noqa: S608
            cursor.executemany(table.write, rows)
            if rows and table.counter:
                cursor.execute(table.counter)
