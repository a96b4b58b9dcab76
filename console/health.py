"""Know whether web, worker and beat all run. The only writer of heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from console.models import Heartbeat

PROCESSES: Final = ("worker", "beat")  # the web process shows itself by answering
STALE_AFTER: Final = timedelta(seconds=20)


def beat(process: str) -> None:
    """Note, by the database's clock, that this kind of process works now."""
    Heartbeat.objects.update_or_create(process=process, defaults={"at": Now()})


def missing() -> list[str]:
    """Return the kinds of process that have not shown themselves lately."""
    alive = set(Heartbeat.objects.filter(at__gt=Now() - STALE_AFTER).values_list("process", flat=True))
    return [process for process in PROCESSES if process not in alive]


def forget() -> None:
    """Drop what the processes of an earlier start left, so that health waits for those of this one."""
    Heartbeat.objects.all().delete()
