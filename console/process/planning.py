"""Have PostgreSQL plan each question of Keyturn's for one process: no helpers, no compiler.

Nearly all of them read one page of an index. To start helpers, or to compile an expression, takes longer than
that, and PostgreSQL plans with both where it thinks that many rows are to be read. What does read them all,
a backup or a check of the trail, reads them in their order, which is for one process too.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

_FOR_ONE_PROCESS = """
    SELECT set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false)
"""


@receiver(connection_created)
def begin(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Say so to a new session."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_FOR_ONE_PROCESS)
