"""Where values might be left behind: each function returns all bytes of one such place."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis
from django.conf import settings
from django.core import mail
from django.db import connection
from django.utils.log import AdminEmailHandler

from console.models import Message
from tests import clients, outside, services


def database() -> list[bytes]:
    """A dump: SQLite's file, and as it is with what was written ahead; or what pg_dump writes."""
    if connection.vendor == "sqlite":
        return [outside.read(Path(connection.settings_dict["NAME"])), connection.connection.serialize()]
    place = connection.settings_dict
    command = [
        str(services.postgres_programs() / "pg_dump"), "--inserts", "-h", place["HOST"], "-p",
        str(place["PORT"]), "-U", place["USER"], place["NAME"],
    ]  # fmt: skip
    return [subprocess.run(command, capture_output=True, timeout=120, check=True).stdout]


class Journal:
    """What the store wrote ahead since this was made: the -wal file, or the segments of pg_wal."""

    def __init__(self) -> None:
        self._first = "" if connection.vendor == "sqlite" else _ask("pg_walfile_name(pg_current_wal_lsn())")

    def read(self) -> list[bytes]:
        if connection.vendor == "sqlite":
            return [outside.read(Path(f"{connection.settings_dict['NAME']}-wal"))]
        last = _ask("pg_walfile_name(pg_current_wal_insert_lsn())")
        folder = Path(_ask("current_setting('data_directory')")) / "pg_wal"
        names = sorted(path.name for path in folder.iterdir() if len(path.name) == len(last))
        written = [name for name in names if self._first <= name <= last]
        assert written
        return [(folder / name).read_bytes() for name in written]


def _ask(expression: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {expression}")
        return str(cursor.fetchone()[0])


def broker() -> list[bytes]:
    """Every message and whatever else the broker keeps."""
    if settings.BROKER_URL.startswith("embedded"):
        return [body.encode() for body in Message.objects.values_list("body", flat=True)]
    client = redis.Redis.from_url(settings.BROKER_URL)
    readers = {
        b"string": lambda key: [client.get(key)],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
        b"set": lambda key: list(client.smembers(key)),
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    found: list[bytes] = []
    for key in client.scan_iter():
        found += [key, *readers[client.type(key)](key)]
    return found


def sessions() -> list[bytes]:
    """What each session holds: in its row it is compressed, so it is read as Django reads it."""
    return [repr(kept).encode() for kept in clients.kept_sessions()]


def mails() -> list[bytes]:
    return [text.encode() for one in mail.outbox for text in (one.subject, one.body, *_html(one))]


def _html(one: object) -> list[str]:
    return [str(part.content) for part in getattr(one, "alternatives", ())]


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


@contextlib.contextmanager
def everything_is_logged() -> Iterator[io.StringIO]:
    """While the block runs every logger writes from DEBUG on, SQL included, and errors are mailed as HTML."""
    printed = io.StringIO()
    text = logging.StreamHandler(printed)
    text.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    letters = AdminEmailHandler(include_html=True)
    letters.setLevel(logging.ERROR)
    root = logging.getLogger()
    named = [root, *(log for log in root.manager.loggerDict.values() if isinstance(log, logging.Logger))]
    before = [(log, log.level, log.propagate, log.disabled) for log in named]
    handlers = list(root.handlers)
    # First: one that makes a record safe would make it so for the next ones too.
    root.handlers[:] = [letters, text, *handlers]
    for log in named:
        log.setLevel(logging.DEBUG if log is root else logging.NOTSET)
        log.propagate, log.disabled = True, False
    connection.force_debug_cursor = True
    try:
        yield printed
    finally:
        connection.force_debug_cursor = False
        root.handlers[:] = handlers
        for log, level, propagates, is_disabled in before:
            log.level, log.propagate, log.disabled = level, propagates, is_disabled
        logging.Logger.manager._clear_cache()
