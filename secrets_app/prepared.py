"""Questions and changes of single rows that Django makes into SQL once for each thread.

A rotation asks the database some sixty times, always the same questions about other rows, and each time
Django takes far longer to make the SQL than the database takes to answer. Here the SQL is kept, and only the
values that differ are put in. PostgreSQL keeps its plan too: it gets the values apart from the SQL, as a
prepared statement of the connection. Rows are still read at each call, and Django makes them.

Knows no table. A statement whose text depends on its values (None, a slice) has no place here; rows of
several ids are asked for with `Several`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import BinaryField, Model, QuerySet
from django.db.models import Value as Constant
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Now
from django.db.models.sql import DeleteQuery, UpdateQuery
from django.utils.duration import duration_microseconds

_Row = TypeVar("_Row")
_Value = UUID | int | str | timedelta | datetime

# What stands for a value while the SQL is made: nothing that is in a statement otherwise, and in the range of
# an integer column, because Django leaves out a comparison with a number that none of its rows can have.
_UUIDS, _NUMBERS = 2**128 - 1_000_003, 2_147_000_003


class _Statement:
    """SQL for one connection, and where its values belong."""

    def __init__(self, compiler: Any, stand_ins: Sequence[_Value]) -> None:
        self.compiler = compiler
        self._sql, parameters = compiler.as_sql()
        self._parameters = tuple(parameters)
        self._places = [
            (place, number)
            for place, parameter in enumerate(self._parameters)
            for number, stand_in in enumerate(stand_ins)
            if any(type(form) in type(parameter).__mro__ and form == parameter for form in _forms(stand_in))
        ]
        if {number for _, number in self._places} != set(range(len(stand_ins))):
            raise TypeError("a value has no place of its own in this statement")
        self._values: Sequence[_Value] = ()
        self._kinds = [_kind(stand_in) for stand_in in stand_ins]

    def fill_in(self, values: Sequence[_Value]) -> None:
        """Use these values in the next execution. Raises TypeError for a value of another type.

        Django would make a UUID of a text; here SQLite would compare the text, and find nothing.
        """
        if [_kind(value) for value in values] != self._kinds:
            raise TypeError("a value has another type than where the SQL was made")
        self._values = values

    def rows(self, *_: Any, **__: Any) -> list[list[tuple[Any, ...]]]:
        """What the database answers now, in one part, as Django's compiler takes it."""
        with _cursor(self.compiler.connection) as cursor:
            cursor.execute(self._sql, self._filled_in())
            found = cursor.fetchall()
        if self.compiler.has_extra_select:  # columns that only sort
            found = [row[: self.compiler.col_count] for row in found]
        return [found]

    def changed(self) -> int:
        """Execute the change; return how many rows it changed."""
        with _cursor(self.compiler.connection) as cursor:
            cursor.execute(*self.text)
            return int(cursor.rowcount)

    @property
    def text(self) -> tuple[str, tuple[Any, ...]]:
        """The SQL and its parameters, with the values of the next execution."""
        return self._sql, self._filled_in()

    def _filled_in(self) -> tuple[Any, ...]:
        parameters: list[Any] = list(self._parameters)
        for place, number in self._places:
            parameters[place] = _like(parameters[place], self._values[number])
        return tuple(parameters)


def _cursor(connection: Any) -> Any:
    """A cursor of this connection, which on PostgreSQL prepares what it executes.

    As `BaseDatabaseWrapper._cursor`, but of another class: Django's own cursor puts the values into the SQL.
    """
    # A test or a debugger that reads the SQL gets it with its values.
    if connection.vendor != "postgresql" or connection.queries_logged:
        return connection.cursor()
    from django.db.backends.postgresql.base import ServerBindingCursor

    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        # At the first execution: the statements here are few, and each is asked all the time.
        connection.connection.prepare_threshold = 0
        return connection._prepare_cursor(ServerBindingCursor(connection.connection))  # type: ignore[call-arg]


def asked(sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database answers to this SQL; PostgreSQL keeps its plan, as that of a `Question`."""
    with _cursor(connections[DEFAULT_DB_ALIAS]) as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def counted(ask: Callable[..., QuerySet[Any, Any]], each: Sequence[Sequence[_Value]]) -> list[int]:
    """How many rows `ask` finds for each of these values, by one question.

    Django makes the SQL of the first alone, and would take longer for the others than the database to count.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    stand_ins = _stand_ins(each[0])
    rows = ask(*stand_ins).order_by().values(one=Constant(1))
    try:
        statement = _Statement(rows.query.get_compiler(connection=connection), stand_ins)
    except EmptyResultSet:
        return [0] * len(each)
    parts: list[str] = []
    parameters: list[Any] = []
    for number, values in enumerate(each):
        statement.fill_in(values)
        sql, filled_in = statement.text
        parts.append(f"SELECT {number}, COUNT(*) FROM ({sql}) AS counted")  # noqa: S608  # of Django
        parameters += filled_in
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        return [count for _, count in sorted(cursor.fetchall())]


class _Kept(threading.local):
    """The statement of this thread; a thread has a connection of its own."""

    statement: _Statement | None = None
    rows: Any = None


class Question(Generic[_Row]):
    """Rows that `ask` finds for some values: `question(value, ...)` reads them now.

    `ask` gets the values as positional arguments and returns a queryset without an `IN` of them. Each value
    keeps its type from call to call. Locks rows only in a transaction, as a queryset does.
    """

    def __init__(self, ask: Callable[..., QuerySet[Any, _Row]]) -> None:
        self._ask = ask
        self._kept = _Kept()

    def __call__(self, *values: _Value) -> list[_Row]:
        kept, connection = self._kept, connections[DEFAULT_DB_ALIAS]
        statement = kept.statement
        if statement is None or statement.compiler.connection is not connection:
            kept.statement = None
            stand_ins = _stand_ins(values)
            asked: Any = self._ask(*stand_ins)
            compiler = asked.query.get_compiler(connection=connection)
            statement = _Statement(compiler, stand_ins)
            # As Django reads the rows of a query, but from the compiler that has its SQL already.
            compiler.execute_sql = statement.rows
            converters = compiler.get_converters([column for column, *_ in compiler.select])
            compiler.get_converters = lambda _: converters
            asked.query.get_compiler = lambda *_, **__: compiler
            kept.statement, kept.rows = statement, asked
        asked = kept.rows
        if asked.query.select_for_update and not connection.in_atomic_block:
            raise transaction.TransactionManagementError("Rows are locked in a transaction only.")
        statement.fill_in(values)
        found: Iterator[_Row] = asked._iterable_class(asked)
        return list(found)

    def first(self, *values: _Value) -> _Row | None:
        """Return the first of them, or None."""
        return next(iter(self(*values)), None)


class Change:
    """A change of rows that `choose` finds for some values: `change(value, ...)` returns how many changed.

    `choose` returns the queryset and the new values of its columns. For tables whose rows have no seal, and
    for columns that do not decide: a seal would not follow.
    """

    def __init__(self, choose: Callable[..., tuple[QuerySet[Any], dict[str, object]]]) -> None:
        self._choose = choose
        self._kept = _Kept()

    def __call__(self, *values: _Value) -> int:
        statement = self.of(*values)
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
            return statement.changed()

    def of(self, *values: _Value) -> _Statement:
        """The statement that makes this change with these values, until the next call in this thread."""
        kept, connection = self._kept, connections[DEFAULT_DB_ALIAS]
        statement = kept.statement
        if statement is None or statement.compiler.connection is not connection:
            stand_ins = _stand_ins(values)
            chosen, fields = self._choose(*stand_ins)
            _require_no_seal(chosen.model, fields)
            query: Any = chosen.query.chain(UpdateQuery)
            query.add_update_values(fields)
            statement = kept.statement = _Statement(query.get_compiler(connection=connection), stand_ins)
        statement.fill_in(values)
        return statement


class Removal:
    """As `Change`, of rows that are taken away: of a table to which no other one points."""

    def __init__(self, choose: Callable[..., QuerySet[Any]]) -> None:
        self._choose = choose
        self._kept = _Kept()

    def __call__(self, *values: _Value) -> int:
        kept, connection = self._kept, connections[DEFAULT_DB_ALIAS]
        statement = kept.statement
        if statement is None or statement.compiler.connection is not connection:
            stand_ins = _stand_ins(values)
            chosen = self._choose(*stand_ins)
            if chosen.model._meta.related_objects:
                raise TypeError("rows that point at these would stay")
            query: Any = chosen.query.chain(DeleteQuery)
            statement = kept.statement = _Statement(query.get_compiler(connection=connection), stand_ins)
        statement.fill_in(values)
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
            return statement.changed()


class Several(Generic[_Row]):
    """Rows that `ask` finds for several ids: `several(ids)` reads them now; none for no id.

    `ask` gets the ids as a sequence. SQL is made for 1, 2, 4, 8, ... of them; the last id fills it up.
    """

    def __init__(self, ask: Callable[[Sequence[Any]], QuerySet[Any, _Row]]) -> None:
        self._ask = ask
        self._questions: dict[int, Question[_Row]] = {}

    def __call__(self, ids: Collection[_Value]) -> list[_Row]:
        if not ids:
            return []
        wanted = list(ids)
        size = 1 << (len(wanted) - 1).bit_length()
        question = self._questions.get(size)
        if question is None:
            question = self._questions[size] = Question(lambda *values: self._ask(values))
        return question(*wanted, *wanted[-1:] * (size - len(wanted)))


class Rows:
    """New rows of a table without a seal, whose columns the caller has filled: `rows(objects)`.

    For a table whose key the caller chooses, without signals: as `bulk_create` of Django, and as much of it.
    """

    def __init__(self, table: type[Model]) -> None:
        _require_unsealed(table)
        self._fields = list(table._meta.concrete_fields)
        if any(isinstance(field, BinaryField) for field in self._fields):
            raise TypeError("JSON holds no bytes")
        self._table, self._key = table._meta.db_table, str(table._meta.pk.column)

    def __call__(self, objects: Sequence[Model], *, beside: _Statement | None = None) -> None:
        """Write them, and make the change that `Change.of` returned; on PostgreSQL in the same statement."""
        if not objects:
            return
        connection: Any = connections[DEFAULT_DB_ALIAS]
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), _cursor(connection) as cursor:
            if connection.vendor == "postgresql":
                change, values = beside.text if beside else ("", ())
                first = f"WITH changed AS ({change}) " if beside else ""
                cursor.execute(f"{first}{self._of_json(connection)}", [*values, self._as_json(objects)])
            else:
                table, names = self._named(connection)
                places = ", ".join(["%s"] * len(self._fields))
                sql = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608  # no value
                cursor.executemany(sql, [self._row(one, connection) for one in objects])
                if beside:
                    beside.changed()
        for one in objects:
            one._state.adding, one._state.db = False, DEFAULT_DB_ALIAS

    def unless_there(self, objects: Sequence[Model]) -> set[Any]:
        """Write those whose key is free, each key once; return their keys. PostgreSQL alone does that."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        key = connection.ops.quote_name(self._key)
        sql = f"{self._of_json(connection)} ON CONFLICT DO NOTHING RETURNING {key}"
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), _cursor(connection) as cursor:
            cursor.execute(sql, [self._as_json(objects)])
            return {key for (key,) in cursor.fetchall()}

    def _named(self, connection: Any) -> tuple[str, str]:
        quoted = connection.ops.quote_name
        return quoted(self._table), ", ".join(quoted(field.column) for field in self._fields)

    def _of_json(self, connection: Any) -> str:
        """The text is the same for any number of rows, so it is planned once; and one value is sent."""
        table, names = self._named(connection)
        rows = f"SELECT {names} FROM json_populate_recordset(NULL::{table}, %s::json)"  # noqa: S608
        return f"INSERT INTO {table} ({names}) {rows}"  # no value

    def _row(self, one: Model, connection: Any) -> tuple[Any, ...]:
        return tuple(field.get_db_prep_save(field.pre_save(one, True), connection) for field in self._fields)

    def _as_json(self, objects: Sequence[Model]) -> str:
        rows = [{field.column: field.pre_save(one, True) for field in self._fields} for one in objects]
        return json.dumps(rows, default=_said)


class RowsOrEnds(Rows):
    """As `Rows`, of which some may be there already: of those the columns `ends` alone are written.

    Of the columns `moments` it is told how many seconds ago that was, or None for never: the database's clock
    says when. No key twice.
    """

    def __init__(self, table: type[Model], *, ends: Sequence[str], moments: Sequence[str]) -> None:
        super().__init__(table)
        self._model, self._ends, self._moments = table, tuple(ends), tuple(moments)

    def write(self, objects: Sequence[Model], ages: Sequence[Mapping[str, float | None]]) -> None:
        """Write them, each with the ages of its moments. On SQLite as Django does."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        if connection.vendor != "postgresql":
            for one, times in zip(objects, ages, strict=True):
                for name, age in times.items():
                    setattr(one, name, None if age is None else Now() - timedelta(seconds=age))
            self._model._default_manager.bulk_create(
                objects, update_conflicts=True, unique_fields=[self._key], update_fields=self._ends
            )
            return
        rows = [{**row, **times} for row, times in zip(self._told(objects), ages, strict=True)]
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), _cursor(connection) as cursor:
            cursor.execute(self._or_ends(connection), [json.dumps(rows, default=_said)])
        for one in objects:
            one._state.adding, one._state.db = False, DEFAULT_DB_ALIAS

    def _told(self, objects: Sequence[Model]) -> list[dict[str | None, object]]:
        fields = [field for field in self._fields if field.column not in self._moments]
        return [{field.column: field.pre_save(one, True) for field in fields} for one in objects]

    def _or_ends(self, connection: Any) -> str:
        table, names = self._named(connection)
        quoted = connection.ops.quote_name
        # The record has the other columns with their types; an age stands under the name of its moment.
        columns = [
            f"STATEMENT_TIMESTAMP() - make_interval(secs => (told ->> '{field.column}')::float8)"
            if field.column in self._moments
            else f"given.{quoted(field.column)}"
            for field in self._fields
        ]
        others = ", ".join(f"'{name}'" for name in self._moments)
        over = [quoted(field.column) for field in self._fields if field.name in self._ends]
        ends = ", ".join(f"{column} = EXCLUDED.{column}" for column in over)
        return (
            f"INSERT INTO {table} ({names}) SELECT {', '.join(columns)} "  # noqa: S608  # no value
            f"FROM jsonb_array_elements(%s::jsonb) AS told, "
            f"jsonb_populate_record(NULL::{table}, told - ARRAY[{others}]) AS given "
            f"ON CONFLICT ({quoted(self._key)}) DO UPDATE SET {ends}"
        )


class Row:
    """A new row of a table without a seal: `row(object)`, as `save` of Django with `force_insert`.

    Without signals. Columns that the caller leaves to the database are read back.
    """

    def __init__(self, table: type[Model]) -> None:
        _require_unsealed(table)
        self._table = table._meta.db_table
        self._fields: list[Any] = list(table._meta.concrete_fields)

    def __call__(self, one: Model) -> None:
        connection: Any = connections[DEFAULT_DB_ALIAS]
        quoted = connection.ops.quote_name
        left = [field for field in self._fields if isinstance(getattr(one, field.attname), DatabaseDefault)]
        given = [field for field in self._fields if field not in left]
        places = ", ".join(["%s"] * len(given))
        columns = ", ".join(quoted(field.column) for field in given)
        sql = f"INSERT INTO {quoted(self._table)} ({columns}) VALUES ({places})"  # noqa: S608  # no value
        if left:
            sql += f" RETURNING {', '.join(quoted(field.column) for field in left)}"
        row = [_plain(field.get_db_prep_save(field.pre_save(one, True), connection)) for field in given]
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), _cursor(connection) as cursor:
            cursor.execute(sql, row)
            found = cursor.fetchone() if left else ()
        for field, value in zip(left, found, strict=True):
            expression = field.get_col(self._table)
            for convert in (
                *connection.ops.get_db_converters(expression),
                *field.get_db_converters(connection),
            ):
                value = convert(value, expression, connection)
            setattr(one, field.attname, value)
        one._state.adding, one._state.db = False, DEFAULT_DB_ALIAS


def _plain(value: Any) -> Any:
    """A member of an enumeration as what it stands for: psycopg would look up each of its kinds."""
    return value.value if isinstance(value, Enum) else value


def _said(value: object) -> str:
    """How the database reads what JSON has no form for."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a row takes no {type(value).__name__}")


def _require_unsealed(table: type[Model]) -> None:
    if hasattr(table, "SEALED"):
        raise TypeError("a seal would not be made")


def _require_no_seal(model: type[Model], fields: dict[str, object]) -> None:
    decides = getattr(model, "decides", None)
    if decides is not None and decides(fields):
        raise TypeError("a seal would not follow this change")


# ---------------------------------------------------------------- values and what stands for them


def _stand_ins(values: Sequence[_Value]) -> list[_Value]:
    return [_stand_in(value, number) for number, value in enumerate(values)]


def _kind(value: _Value) -> type:
    return next((kind for kind in (UUID, timedelta, datetime, str, int) if isinstance(value, kind)), object)


def _stand_in(value: _Value, number: int) -> _Value:
    if isinstance(value, UUID):
        return UUID(int=_UUIDS + number)
    if isinstance(value, timedelta):
        return timedelta(microseconds=_NUMBERS * 1_000_003 + number)
    if isinstance(value, datetime):
        return datetime(9000, 1, 1, 1, 1, 1, number + 1, tzinfo=UTC)
    if isinstance(value, str):
        return f"stands for value {number}"
    if type(value) is int:
        return _NUMBERS + number
    raise TypeError(f"a statement takes no {type(value).__name__}")


def _forms(value: _Value) -> tuple[Any, ...]:
    """How this value may stand among the parameters of either database."""
    if isinstance(value, UUID):
        return value, value.hex
    if isinstance(value, timedelta):
        return value, duration_microseconds(value)
    if isinstance(value, datetime):
        return value, _moment(value)
    return (value,)


def _moment(value: datetime) -> Any:
    """A moment as Django gives it to this database: SQLite gets a text in UTC, which it compares as one."""
    return connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(value)


def _like(parameter: Any, value: _Value) -> Any:
    """Return `value` in the form of the parameter whose place it takes."""
    if isinstance(value, UUID):
        return value.hex if isinstance(parameter, str) else value
    if isinstance(value, timedelta):
        return value if isinstance(parameter, timedelta) else duration_microseconds(value)
    if isinstance(value, datetime):
        return value if isinstance(parameter, datetime) else _moment(value)
    if isinstance(value, Enum):
        return value.value
    # psycopg has a type for each width of an integer.
    return type(parameter)(value) if isinstance(value, int) else value
