"""Questions and changes of single rows that Django makes into SQL once for each thread.

A rotation asks the database some sixty times, always the same questions about other rows, and each time
Django takes far longer to make the SQL than the database takes to answer. Here the SQL is kept, and only the
values that differ are put in. Rows are still read at each call, and Django makes them.

Knows no table. A statement whose text depends on its values (None, a list, a slice) has no place here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery
from django.db.models.sql.constants import ROW_COUNT
from django.utils.duration import duration_microseconds

_Row = TypeVar("_Row")
_Value = UUID | int | str | timedelta

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
        compiler.as_sql = self._filled_in
        self._values: Sequence[_Value] = ()

    def fill_in(self, values: Sequence[_Value]) -> None:
        """Use these values in the next execution."""
        self._values = values

    def _filled_in(self, *_: Any, **__: Any) -> tuple[str, tuple[Any, ...]]:
        parameters: list[Any] = list(self._parameters)
        for place, number in self._places:
            parameters[place] = _like(parameters[place], self._values[number])
        return self._sql, tuple(parameters)


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
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
            changed: int = statement.compiler.execute_sql(ROW_COUNT)
        return changed


def _require_no_seal(model: type[Model], fields: dict[str, object]) -> None:
    decides = getattr(model, "decides", None)
    if decides is not None and decides(fields):
        raise TypeError("a seal would not follow this change")


# ---------------------------------------------------------------- values and what stands for them


def _stand_ins(values: Sequence[_Value]) -> list[_Value]:
    return [_stand_in(value, number) for number, value in enumerate(values)]


def _stand_in(value: _Value, number: int) -> _Value:
    if isinstance(value, UUID):
        return UUID(int=_UUIDS + number)
    if isinstance(value, timedelta):
        return timedelta(microseconds=_NUMBERS * 1_000_003 + number)
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
    return (value,)


def _like(parameter: Any, value: _Value) -> Any:
    """Return `value` in the form of the parameter whose place it takes."""
    if isinstance(value, UUID):
        return value.hex if isinstance(parameter, str) else value
    if isinstance(value, timedelta):
        return value if isinstance(parameter, timedelta) else duration_microseconds(value)
    # psycopg has a type for each width of an integer.
    return type(parameter)(value) if isinstance(value, int) else value
