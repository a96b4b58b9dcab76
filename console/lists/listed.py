"""`pk__listed=keys`: as `in`, with all keys in one parameter where the database has a type for that.

A filter is often worked out as a few thousand keys. As a parameter each, they take Django longer to write
down than PostgreSQL takes to find the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.models.lookups import In


@models.UUIDField.register_lookup
class Listed(models.Lookup):
    """The rows whose key is one of these, which are of the key's own type."""

    lookup_name = "listed"
    prepare_rhs = False
    rhs: Collection[UUID]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        keys = list(dict.fromkeys(self.rhs))
        if connection.vendor != "postgresql":
            sql, parameters = In(self.lhs, keys).as_sql(compiler, connection)
            return sql, tuple(parameters)
        if not keys:
            raise EmptyResultSet
        left, parameters = self.process_lhs(compiler, connection)
        # As one text, which takes a fifth of the time that a list of them takes.
        return f"{left} = ANY(%s::uuid[])", (*parameters, f"{{{','.join([key.hex for key in keys])}}}")
