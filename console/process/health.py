"""Know why this process cannot serve, and whether worker and beat run. The only writer of heartbeats.

Three separate questions: a process that answers is *live*; a process that can serve is *ready*, independent
of all other processes; and the *installation* is healthy if worker and beat have written their heartbeats.
"""

from __future__ import annotations

import functools
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from console.models import Heartbeat
from secrets_app import keyring

log = logging.getLogger(__name__)

PROCESSES: Final = ("worker", "beat")  # the web process shows itself by answering
STALE_AFTER: Final = timedelta(seconds=20)

DATABASE: Final = "database"
READ_ONLY: Final = "read-only"
NOT_SET_UP: Final = "setup"
SEALED: Final = "sealed"
SENTENCES: Final = {
    DATABASE: "the database does not answer",
    READ_ONLY: "the database takes no changes",
    NOT_SET_UP: "it is not set up: run manage.py setup",
    SEALED: "it is sealed: a key file is missing, cannot be read or is not the one of this database",
}


def beat(process: str) -> None:
    """Note, by the database's clock, that this kind of process works now."""
    Heartbeat.objects.update_or_create(process=process, defaults={"at": Now()})
    if settings.ALIVE_FILE:
        Path(settings.ALIVE_FILE).touch()


def alive() -> dict[str, bool]:
    """Return whether each kind of process has shown itself lately; one that never did is not in it."""
    is_alive = ExpressionWrapper(Q(at__gt=Now() - STALE_AFTER), output_field=BooleanField())
    return dict(Heartbeat.objects.annotate(is_alive=is_alive).values_list("process", "is_alive"))


def seen() -> dict[str, timedelta]:
    """Return how long ago each kind of process has shown itself; one that never did is not in it."""
    rows = Heartbeat.objects.annotate(now=Now()).values_list("process", "now", "at")
    return {process: max(now - at, timedelta(0)) for process, now, at in rows}


def missing() -> list[str]:
    """Return the kinds of process that have not shown themselves lately."""
    shown = alive()
    return [process for process in PROCESSES if not shown.get(process)]


def forget() -> None:
    """Delete the heartbeats of an earlier start, so that health waits for the processes of this one."""
    Heartbeat.objects.all().delete()


def obstacles() -> list[str]:
    """Return what keeps this process from serving, as keys of `SENTENCES`; empty when it is ready.

    Asks the database three small questions. A change of the answer is logged once.
    """
    present = _obstacles()
    if present != _Told.obstacles:
        if present:
            log.error("Not ready: %s.", "; ".join(SENTENCES[name] for name in present))
        elif _Told.obstacles is not None:
            log.info("Ready again.")
        _Told.obstacles = present
    return present


class _Told:
    """What the log of this process says."""

    obstacles: list[str] | None = None


def _obstacles() -> list[str]:
    try:
        # Return now: queries on the tables would fail for the same reason without naming it.
        if not _is_set_up():
            return [NOT_SET_UP]
        present = [READ_ONLY] if _is_read_only() else []
        return [*present, SEALED] if keyring.is_sealed() else present
    except (DatabaseError, InterfaceError):
        return [DATABASE]


def lacks_set_up() -> bool | None:
    """Whether the set-up of this version has not run; None if the database cannot be asked."""
    try:
        return not _is_set_up()
    except (DatabaseError, InterfaceError):
        is_missing = settings.IS_SQLITE and not Path(str(settings.DATABASES["default"]["NAME"])).exists()
        return True if is_missing else None
    finally:
        # Asked outside a request, at whose end Django would look after the connection.
        connection.close()


def read_static_files_again() -> None:
    """Read the list of static files, which was not there when this process began."""
    storage: Any = staticfiles_storage
    if hasattr(storage, "load_manifest"):
        storage.hashed_files, storage.manifest_hash = storage.load_manifest()


def _is_set_up() -> bool:
    """Whether this code's migrations are all applied, and its static files collected."""
    applied = MigrationRecorder(connection).applied_migrations()
    return applied.keys() >= _last_migrations() and _has_static_files()


@functools.cache
def _last_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _has_static_files() -> bool:
    name = getattr(staticfiles_storage, "manifest_name", None)
    return name is None or Path(settings.STATIC_ROOT, name).exists()


def _is_read_only() -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")  # a standby says "on" too
        is_read_only = bool(cursor.fetchone()[0] == "on")
    if is_read_only:
        connection.close()  # it keeps the settings from its beginning; the next one reads them again
    return is_read_only
