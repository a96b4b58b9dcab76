"""A worker of the product that counts what it asks of its database: `counted_worker FILE WORD ...`.

FILE gets a line when the worker is ready and after each task: the statements and the commits until then. The
words are those of `celery worker`. Only threads that have had a task count: what the broker and the pulse ask
is not a task's. The beginning of a transaction is no statement; a write outside of one is a commit too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.settings")
WRITES = ("INSERT", "UPDATE", "DELETE")


class Counts:
    """The statements and commits of the tasks of this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._statements = self._commits = 0
        self._thread = threading.local()

    def begin(self, **_: Any) -> None:
        """Count what this thread asks from now on."""
        self._thread.has_tasks = True

    def watch(self, connection: Any, **_: Any) -> None:
        """Count what this new connection is asked."""
        if self._statement in connection.execute_wrappers:
            return  # the same one, connected again
        connection.execute_wrappers.append(self._statement)
        commit = connection._commit

        def counted() -> Any:
            self._add(commits=1)
            return commit()

        connection._commit = counted

    def _statement(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        words = str(sql)[:20].lstrip().upper()
        if not words.startswith("BEGIN"):
            alone = words.startswith(WRITES) and not context["connection"].in_atomic_block
            self._add(statements=1, commits=int(alone))
        return execute(sql, params, many, context)

    def _add(self, statements: int = 0, commits: int = 0) -> None:
        if not getattr(self._thread, "has_tasks", False):
            return
        with self._lock:
            self._statements += statements
            self._commits += commits

    def write(self, **_: Any) -> None:
        with self._lock:
            os.write(self._file, f"{self._statements} {self._commits}\n".encode())


def main(path: str, *words: str) -> None:
    django.setup()
    from celery.signals import task_postrun, task_prerun, worker_ready
    from django.db.backends.signals import connection_created

    from console.celery import app

    counts = Counts(path)
    connection_created.connect(counts.watch, weak=False)
    task_prerun.connect(counts.begin, weak=False)
    worker_ready.connect(counts.write, weak=False)
    task_postrun.connect(counts.write, weak=False)
    app.worker_main(["-q", *words])


if __name__ == "__main__":
    main(*sys.argv[1:])
