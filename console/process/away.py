"""Know which part of the installation is away, and say what still works without it.

Every page asks. The answer is therefore kept for a moment in this process: one small query each time it is
renewed, and a question to the broker only while worker or beat are missing, by one thread at a time.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from console.process import health

#: With `health.STALE_AFTER` and the page's own refresh, less than thirty seconds.
KEPT_SECONDS: Final = 2.0
BROKER_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Away:
    """One part that is away."""

    name: str
    title: str
    works: str  # what waits, and what works even so
    advice: str


WORKER: Final = Away(
    "worker",
    "No worker is running",
    "Rotations, checks and scans stay queued and begin when a worker runs; nothing is lost. Everything else "
    "works: values can be read, and secrets, schedules and permissions can be changed.",
    "An administrator of Keyturn starts a worker, and reads its log to learn why it stopped.",
)
BEAT: Final = Away(
    "beat",
    "Beat is not running",
    "Nothing starts automatically: no scheduled rotation, drift check or planned deletion. Everything that a "
    "user starts works.",
    "An administrator of Keyturn starts beat. Rotations that were due meanwhile then start as their "
    "schedules say.",
)
BROKER: Final = Away(
    "broker",
    "The message broker does not answer",
    "Workers receive no work and nothing starts automatically: rotations, checks and scans stay queued and "
    "begin when the broker is back; nothing is lost. Everything else works.",
    "An administrator of Keyturn starts the broker again and checks KEYTURN_BROKER_URL. Whether worker "
    "and beat run is known only then.",
)
_PROCESSES: Final = {"worker": WORKER, "beat": BEAT}


class _Seen:
    """What this process saw last, and when it looks again."""

    again_at = float("-inf")
    parts: tuple[Away, ...] = ()
    began_at = time.monotonic()
    looking = threading.Lock()


def parts() -> tuple[Away, ...]:
    """Return the parts that are away, as this process saw it a moment ago."""
    # A thread that finds another one looking takes the answer of before: the broker may let one wait.
    if time.monotonic() >= _Seen.again_at and _Seen.looking.acquire(blocking=False):
        try:
            _Seen.parts = _look()
            _Seen.again_at = time.monotonic() + KEPT_SECONDS
        finally:
            _Seen.looking.release()
    return _Seen.parts


def _look() -> tuple[Away, ...]:
    alive = health.alive()
    # The processes of one start need a moment to show themselves; the web is usually the first that answers.
    may_be_starting = time.monotonic() - _Seen.began_at < health.STALE_AFTER.total_seconds()
    missing = [part for name, part in _PROCESSES.items() if not alive.get(name, may_be_starting)]
    return (BROKER,) if missing and not _broker_answers() else tuple(missing)


def _broker_answers() -> bool:
    """Ask a Redis; the embedded broker is a table of the database, which has just answered."""
    if settings.BROKER_URL.startswith("embedded"):
        return True
    import redis  # of no use to an embedded broker, and a seventh of what a process loads

    broker = redis.Redis.from_url(
        settings.BROKER_URL, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS
    )
    try:
        with broker:
            broker.ping()
    except (redis.RedisError, OSError):
        return False
    return True
