"""Let each worker take back what the workers of its host left behind when their process died.

The sweep does so too, but it is a task: if every thread is busy it waits its turn behind each run that is
due, and a run whose worker was killed with it. This is a timer of its own, as the worker's pulse is.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from celery import bootsteps
from django.db import DatabaseError, InterfaceError, close_old_connections

from rotation import tasks

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 2.0


def look() -> None:
    """Take back what was left behind; if the store does not answer, log it: the next look may find it."""
    close_old_connections()
    try:
        tasks.take_back()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Runs left behind were not looked for: the database did not answer.", exc_info=error)


class TakeBack(bootsteps.StartStopStep):
    """Looks while the worker's consumer runs, and at its start: it often takes the place of one that died."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        look()
        self.entry = consumer.timer.call_repeatedly(EVERY_SECONDS, look)

    def stop(self, consumer: Any) -> None:
        self.entry.cancel()
