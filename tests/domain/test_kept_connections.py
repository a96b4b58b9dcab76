"""A worker's thread keeps its database connection from task to task, and loses a broken one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import task_postrun, task_prerun
from django.db import connection

from console.celery import app
from rotation import tasks
from secrets_app.models import Account

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def worker() -> Iterator[Any]:
    """Have this process do around a task what a worker does; yield what does it."""
    (fixup,) = app._fixups
    fixup.worker_fixup.install()
    try:
        yield fixup.worker_fixup
    finally:
        task_prerun.disconnect(fixup.worker_fixup.on_task_prerun)
        task_postrun.disconnect(fixup.worker_fixup.on_task_postrun)


def run_task() -> object:
    """What is done for a task, and its thread's connection to the database in it."""
    task_prerun.send(sender=tasks.advance)
    Account.objects.count()
    used = connection.connection
    task_postrun.send(sender=tasks.advance)
    return used


def test_the_next_task_of_a_thread_has_the_connection_of_the_last_one() -> None:
    with worker():
        assert run_task() is run_task() is not None


def test_a_connection_that_is_too_old_is_not_the_next_tasks() -> None:
    with worker():
        first = run_task()
        connection.close_at = time.monotonic() - 1
        assert run_task() is not first


def test_a_task_does_not_begin_with_what_another_one_left_open() -> None:
    with worker():
        first = run_task()
        connection.set_autocommit(False)
        Account.objects.count()
        assert run_task() is not first
        assert connection.get_autocommit()


if connection.vendor == "postgresql":  # a file does not end its connections

    def test_a_connection_that_the_server_has_ended_costs_no_task() -> None:
        with worker():
            first: Any = run_task()
            other = connection.copy()
            try:
                with other.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [first.info.backend_pid])
                    assert cursor.fetchone() == (True,)
            finally:
                other.close()
            assert run_task() is not first
