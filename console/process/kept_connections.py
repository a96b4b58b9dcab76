"""Keep the database connection of a worker's thread from one task to the next, as the web does.

Celery closes it before and after each task. A new one costs PostgreSQL a process and all that it has learned:
the tables, and the plans of some sixty statements. Here Django's own rule holds instead: a connection that
broke or is older than `CONN_MAX_AGE` is closed before the next task, and the first statement of a task comes
after the question whether the connection still works.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.fixups import django as fixups
from django.db import close_old_connections

_WorkerFixup: Any = fixups.DjangoWorkerFixup  # type: ignore[attr-defined]  # newer than its types


class _Worker(_WorkerFixup):  # type: ignore[misc]
    def close_database(self, **_: Any) -> None:
        close_old_connections()


class _Fixup(fixups.DjangoFixup):
    @property
    def worker_fixup(self) -> Any:
        self._worker_fixup: Any = self._worker_fixup or _Worker(self.app)
        return self._worker_fixup

    @worker_fixup.setter
    def worker_fixup(self, value: Any) -> None:
        self._worker_fixup = value


def fixup(app: Celery) -> object:
    """Prepare `app` for Django as Celery's own fixup does, save for what happens to its connections."""
    made = _Fixup(app)
    made.install()
    return made
