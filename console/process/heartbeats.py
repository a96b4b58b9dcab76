"""Let Celery's two processes show that they work; `console.process.health` keeps and judges what they say.

The worker's pulse is a timer of its own and not a task: with every thread busy on slow hosts a task would
wait its turn, and a worker that works would look dead. Beat's is the loop that sends the schedule. Both
end in the database, so a process that has lost the store counts as missing too.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from celery import beat, bootsteps
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils.module_loading import import_string

from console.process import health

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0


def show(process: str) -> None:
    """Record one pulse; where the store does not answer, log it and go on, since the next one may."""
    close_old_connections()
    try:
        health.beat(process)
    except DatabaseError as error:
        logger.warning("No heartbeat of the %s: the database did not take it.", process, exc_info=error)


class WorkerPulse(bootsteps.StartStopStep):
    """Runs while the worker's consumer does, which is while it has a broker to consume from."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        show("worker")
        self.entry = consumer.timer.call_repeatedly(EVERY_SECONDS, show, ("worker",))

    def stop(self, consumer: Any) -> None:
        self.entry.cancel()


class Scheduler(beat.Scheduler):
    """The schedule in memory. A file of when each entry ran last would have nothing to tell:

    what is due stands in the rows, and every entry only looks for due rows, every few seconds.
    """

    shown_at = float("-inf")
    sends = True

    def apply_entry(self, entry: beat.ScheduleEntry, producer: Any = None) -> None:
        """Send one entry. Until one is sent again, beat does not look alive."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            # Celery would print the whole stack, twice, for each entry.
            logger.error("Beat could not send %s (%s).", entry.name, type(error.__context__).__name__)
            self.sends = False
        else:
            self.sends = True

    def tick(self, *args: Any, **kwargs: Any) -> float:
        wait: float = super().tick(*args, **kwargs)
        if self.sends and time.monotonic() - self.shown_at >= EVERY_SECONDS:
            show("beat")
            self.shown_at = time.monotonic()
            import_string(settings.BEAT_WATCH)()
        return min(wait, EVERY_SECONDS)
