"""The periodic work: follow the trail, send what is due, record what is late.

A worker does it. Beat shows that no worker runs, since then nothing else does; as long as that lasts, beat
sends what is due.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from celery import shared_task
from django.db import DatabaseError, InterfaceError, connection

from console import celery as _application  # noqa: F401  # what is called here goes to its broker
from console.notices import conditions, deliveries, following, sending
from secrets_app import keyring, origin
from secrets_app.audit.trail import NotRecorded

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 15.0


@shared_task
def tell() -> None:
    """Line up what is new in the trail, and send what is due."""
    if keyring.is_sealed():
        return
    while following.follow() == following.CHUNK:
        pass
    sending.send_due()


@shared_task
def look() -> None:
    """Record what should have happened, and delete the log of what was told long ago."""
    if not keyring.is_sealed():
        conditions.look()
        deliveries.prune()


class _Watch:
    """What beat does beside its own work, one thread at a time."""

    again_at = float("-inf")
    is_at_it = threading.Lock()


def watch_worker() -> None:
    """Have a thread look whether a worker runs, if the last look was a while ago. Returns at once."""
    if time.monotonic() >= _Watch.again_at and _Watch.is_at_it.acquire(blocking=False):
        _Watch.again_at = time.monotonic() + LOOK_SECONDS
        threading.Thread(target=_watch, name="watch for a worker", daemon=True).start()


def _watch() -> None:
    try:
        with origin.bind():
            stand_in()
    except (DatabaseError, InterfaceError, NotRecorded) as error:
        log.warning("Whether a worker runs is not known.", exc_info=error)
    except Exception:
        log.exception("Notifications could not be sent without a worker.")
    finally:
        connection.close()
        _Watch.is_at_it.release()


def stand_in() -> None:
    """Record that no worker runs, and send what is due as long as that lasts."""
    if keyring.is_sealed():
        return
    conditions.note_worker_away()
    if conditions.is_worker_away():
        tell()
