"""The rows of a database as lines: one snapshot of all tables, in a form that both databases take.

What is left out is what a start makes again, and ways in: sessions, messages of the embedded broker, the
cache, heartbeats. Values are as they stand in the tables: sealed. No key is asked for.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, connections, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from secrets_app.backups.container import Damaged
from secrets_app.errors import DomainError
from secrets_app.models import Account

Node = tuple[str, str]  # a migration: its app and its name

LEFT_OUT: Final = frozenset({
    "sessions.session", "usersessions.usersession", "console.message", "console.heartbeat",
    "console.cacheentry",
})  # fmt: skip
ALIAS: Final = "backup"
CHUNK: Final = 1_000


class OfNewerVersion(DomainError):
    """This database was brought up to date by a newer version of Keyturn."""

    code = "database_of_newer_version"


def tables(known: Any = apps) -> list[type[models.Model]]:
    """The tables of a backup, in one order: those of this version, or of what `as_migrated` returns."""
    found = known.get_models(include_auto_created=True)
    kept = [model for model in found if model._meta.managed and not model._meta.proxy]
    return sorted((m for m in kept if m._meta.label_lower not in LEFT_OUT), key=lambda m: m._meta.label_lower)


def columns(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def schema(known: Any = apps) -> list[str]:
    """The migrations that this database has, and the columns that they made: a backup fits the same ones."""
    done = sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())
    return [*done, *columns_of(known)]


def columns_of(known: Any = apps) -> list[str]:
    """Each table with its columns, as a line."""
    return [f"{model._meta.label_lower}({','.join(columns(model))})" for model in tables(known)]


def tables_in(lines: list[str]) -> set[str]:
    """Those of the lines of a schema that name a table and its columns."""
    return {line for line in lines if "(" in line}


def migrations_in(lines: list[str]) -> set[Node]:
    """The migrations that the lines of a schema name."""
    found = (line.partition(".") for line in lines if "(" not in line)
    return {(app, name) for app, _, name in found}


def unknown(done: set[Node]) -> list[str]:
    """Those of the migrations that this version does not have."""
    return sorted(f"{app}.{name}" for app, name in done - set(_own().graph.nodes))


def missing_from(done: set[Node]) -> list[str]:
    """The migrations that this version has and `done` has not."""
    return sorted(f"{app}.{name}" for app, name in set(_own().graph.nodes) - done)


def after(done: set[Node]) -> Any:
    """The tables as these migrations make them; this version has all of them."""
    return _own().project_state(sorted(done)).apps


@cache
def _own() -> MigrationLoader:
    """This version's migrations, without a look at the database."""
    return MigrationLoader(None)


def can_become(done: set[Node]) -> bool:
    """Whether this database has no other migration than these."""
    return set(MigrationRecorder(connection).applied_migrations()) <= done


def migrate_to(done: set[Node]) -> None:
    """Apply those of these migrations that this database has not."""
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    last = [
        node for node in sorted(done) if not {child.key for child in graph.node_map[node].children} & done
    ]
    executor.migrate(last)


def migrate() -> None:
    """Bring the database up to date."""
    call_command("migrate", verbosity=0, interactive=False)


def holds_an_installation() -> bool:
    """Whether there is an account, whatever version the tables are of."""
    table = Account._meta.db_table
    if table not in connection.introspection.table_names():
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608
        return cursor.fetchone() is not None


def as_migrated() -> Any:
    """The tables as the migrations that were applied have made them: what an earlier version has left.

    Raises `OfNewerVersion`.
    """
    loader = MigrationLoader(connection)
    applied = list(loader.applied_migrations)
    if strangers := [f"{app}.{name}" for app, name in applied if (app, name) not in loader.graph.nodes]:
        raise OfNewerVersion(f"{OfNewerVersion.__doc__} This version does not know {', '.join(strangers)}.")
    return loader.project_state(applied).apps


def pending() -> list[str]:
    """The migrations that this version has and the database has not."""
    loader = MigrationLoader(connection)
    return sorted(f"{app}.{name}" for app, name in set(loader.graph.nodes) - set(loader.applied_migrations))


@contextmanager
def snapshot() -> Iterator[str]:
    """Hold one moment of the database; yield the alias of a connection to it. No writer waits meanwhile."""
    if connection.vendor == "sqlite":
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="backup-") as folder:
            copy = Path(folder) / "copy.sqlite3"
            # The online backup of SQLite: one consistent state, while others write.
            source = sqlite3.connect(f"file:{quote(str(connection.settings_dict['NAME']))}?mode=ro", uri=True)
            target = sqlite3.connect(copy)
            try:
                source.backup(target)
            finally:
                target.close()
                source.close()
            with _connected({"NAME": str(copy)}) as alias:
                yield alias
        return
    with _connected({}) as alias, transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield alias


@contextmanager
def _connected(changed: dict[str, Any]) -> Iterator[str]:
    """A connection of this thread alone, like the usual one."""
    connections[ALIAS] = type(connections["default"])({**connection.settings_dict, **changed}, ALIAS)
    try:
        yield ALIAS
    finally:
        connections[ALIAS].close()
        del connections[ALIAS]


def dump(alias: str, known: Any = apps) -> Iterator[bytes]:
    """Yield every row as a line, and how many there were at the end."""
    counts = {}
    for model in tables(known):
        label, count = model._meta.label_lower, 0
        yield json.dumps({"table": label}).encode()
        rows = model._base_manager.using(alias).order_by("pk").values_list(*columns(model))
        for row in rows.iterator(chunk_size=CHUNK):
            yield json.dumps([_packed(value) for value in row]).encode()
            count += 1
        counts[label] = count
    yield json.dumps({"end": counts}).encode()


def read(lines: Iterator[bytes], registry: Any = apps) -> Iterator[tuple[type[models.Model], list[Any]]]:
    """Yield each row with its table. Raises `Damaged` where a line, a table or a count is not as written."""
    known = {model._meta.label_lower: model for model in tables(registry)}
    counts: dict[str, int] = {}
    at, ended = "", False
    for line in lines:
        told = json.loads(line)
        if ended:
            raise Damaged("This backup goes on after its end.")
        if isinstance(told, list):
            counts[at] += 1
            yield known[at], [_unpacked(value) for value in told]
        elif "table" in told:
            at = told["table"]
            if at not in known:
                raise Damaged(f"This backup has a table {at}, which this version of Keyturn does not know.")
            counts[at] = 0
        else:
            ended = True
            if told["end"] != counts:
                raise Damaged("This backup does not hold as many rows as were written.")
    if not ended:
        raise Damaged("This backup ends too early.")


def load(rows: Iterator[tuple[type[models.Model], list[Any]]], known: Any = apps) -> dict[str, int]:
    """Write the rows into these tables of an empty database; the caller holds the transaction."""
    for model in tables(known):
        if model._base_manager.exists():  # what the set-up of an empty database leaves
            model._base_manager.all()._raw_delete("default")
    counts: dict[str, int] = {}
    held: list[models.Model] = []
    for model, values in rows:
        if held and (len(held) >= CHUNK or type(held[0]) is not model):
            _write(held)
            held = []
        held.append(model(**dict(zip(columns(model), values, strict=True))))
        counts[model._meta.label_lower] = counts.get(model._meta.label_lower, 0) + 1
    if held:
        _write(held)
    for statement in connection.ops.sequence_reset_sql(no_style(), tables(known)):
        with connection.cursor() as cursor:
            cursor.execute(statement)
    return counts


def _write(rows: list[models.Model]) -> None:
    # By the base manager: with the seals that the rows have.
    rows_of: models.QuerySet[Any] = models.QuerySet(type(rows[0]))
    rows_of.bulk_create(rows)


def _packed(value: Any) -> Any:
    """A value of a column as JSON; a mapping always says what it stands for."""
    if isinstance(value, bytes | memoryview | bytearray):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime):
        return {"at": value.isoformat()}
    if isinstance(value, date):
        return {"day": value.isoformat()}
    if isinstance(value, timedelta):
        return {"microseconds": value // timedelta(microseconds=1)}
    if isinstance(value, UUID):
        return {"uuid": value.hex}
    if isinstance(value, dict | list):
        return {"json": value}
    return value


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    return _READERS[kind](held)


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "bytes": base64.b64decode,
    "at": datetime.fromisoformat,
    "day": date.fromisoformat,
    "microseconds": lambda held: timedelta(microseconds=held),
    "uuid": UUID,
    "json": lambda held: held,
}
