"""Questions about one principal and its groups that Django makes into SQL once.

Rights are read anew for every request. To make the SQL of these questions takes longer than the database
takes to answer them, and it is the same each time but for the ids in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

#: Stands for the principal where the SQL is made. Groups are stood for by -1, -2 and so on.
_PRINCIPAL = UUID(int=2**128 - 1)


class Question:
    """What `ask` returns for a principal and its groups, as plain values of the database."""

    def __init__(self, ask: Callable[[UUID, Sequence[int]], QuerySet[Any, tuple[Any, ...]]]) -> None:
        self._ask = ask
        self._ready: dict[tuple[str, int], tuple[str, tuple[Any, ...]]] = {}

    def rows(self, principal: UUID, groups: Sequence[int] = ()) -> list[tuple[Any, ...]]:
        """Ask it now. An id is a UUID or a text, as the database has it."""
        name = connection.vendor, len(groups)
        if name not in self._ready:
            stand_ins = [-1 - number for number in range(len(groups))]
            self._ready[name] = self._ask(_PRINCIPAL, stand_ins).query.sql_with_params()
        sql, made = self._ready[name]
        ids: dict[Any, Any] = {-1 - number: group for number, group in enumerate(groups)}
        ids[_PRINCIPAL] = ids[_PRINCIPAL.hex] = _kept(principal)
        with connection.cursor() as cursor:
            cursor.execute(sql, [ids.get(part, part) for part in made])
            return list(cursor.fetchall())


def _kept(principal: UUID) -> UUID | str:
    """The id as a parameter of this database."""
    return principal if connection.features.has_native_uuid_field else principal.hex
