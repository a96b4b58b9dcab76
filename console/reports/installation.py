"""What this installation is made of, and how each part is: for the page About.

Nothing secret is in it: an address stands here without the user and password that its URL may hold.
"""

from __future__ import annotations

import platform
import shutil
import sqlite3
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from typing import Final
from urllib.parse import urlsplit

import django
from cryptography.hazmat.backends.openssl import backend
from django.conf import settings
from django.db import connection
from django.utils import timezone

from console import trigrams
from console.presentation import durations
from console.process import away, health
from console.version import product_version
from secrets_app import keyring, regions, root_keys
from secrets_app.audit import checkpoints
from secrets_app.backups import backups
from secrets_app.journal import journal
from secrets_app.journal.places import Away
from secrets_app.models import AuditCheckpoint, AuditHead

#: Of the data folder. An embedded database grows by less than this in a day.
LITTLE_BYTES: Final = 1_000_000_000
_UNITS: Final = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6))


@dataclass(frozen=True)
class Line:
    """One fact: what it is about, how it is, and what more there is to say."""

    label: str
    text: str
    note: str = ""
    tone: str = ""  # of a badge in which the text stands; none where it is no state
    at: datetime | None = None
    is_copied: bool = False  # it is something that people compare or paste


@dataclass(frozen=True)
class Part:
    """Facts that belong together."""

    title: str
    lines: tuple[Line, ...]


def parts() -> list[Part]:
    """Everything, as it is now."""
    return [
        Part("Version", tuple(_versions())),
        Part("Processes", tuple(_processes())),
        Part("Storage", tuple(_storage())),
        Part("Keys", tuple(_keys())),
        Part("Programs", tuple(_programs())),
        Part("Audit trail", tuple(_audit())),
    ]


def _versions() -> Iterator[Line]:
    yield Line("Keyturn", product_version())
    yield Line("Python", platform.python_version())
    yield Line("Django", django.get_version())
    yield Line("OpenSSL", backend.openssl_version_text(), f"For TLS: {ssl.OPENSSL_VERSION}")
    yield Line(
        "SSH client",
        f"Paramiko {metadata.version('paramiko')}",
        "Part of Keyturn: the OpenSSH client of this machine is not used.",
    )


# ---------------------------------------------------------------- processes


def _processes() -> Iterator[Line]:
    yield Line("Web", "Running", "It has answered this request.", "ok")
    seen, advice = health.seen(), {part.name: part.advice for part in (away.WORKER, away.BEAT)}
    for name in health.PROCESSES:
        yield _process(name, seen.get(name), advice[name])


def _process(name: str, ago: timedelta | None, advice: str) -> Line:
    label = name.capitalize()
    if ago is None:
        return Line(label, "Not running", f"Not seen since Keyturn started. {advice}", "danger")
    seconds = int(ago.total_seconds())
    said = f"Seen {seconds} second{'' if seconds == 1 else 's'} ago."
    if ago > health.STALE_AFTER:
        long_ago = f"Last seen {durations.duration(ago)} ago."
        return Line(label, "Not running", f"{long_ago} {advice}", "danger")
    return Line(label, "Running", said, "ok")


# ---------------------------------------------------------------- storage


def _storage() -> Iterator[Line]:
    yield Line("Database", *_database())
    if connection.vendor == "postgresql" and not trigrams.are_there():
        yield Line(
            "Search",
            "Without an index",
            "Searches are slow in large installations: the extension pg_trgm is missing. Have the owner of "
            "the database run CREATE EXTENSION pg_trgm, then start Keyturn again.",
            "warning",
        )
    yield _broker()
    yield _disk()
    yield _backup()
    yield _journal()


def _database() -> tuple[str, str]:
    given = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}", str(given["NAME"])
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0])
    where = ":".join(str(given[name]) for name in ("HOST", "PORT") if given.get(name))
    return f"PostgreSQL {version}", " ".join(
        filter(None, [f"{given['NAME']}", f"at {where}" if where else ""])
    )


def _broker() -> Line:
    """The message broker. A Redis is asked, for no longer than a second."""
    parts = urlsplit(settings.BROKER_URL)
    if parts.scheme == "embedded":
        return Line("Message broker", "Embedded", "A table of the database.")
    where = f"{parts.hostname}:{parts.port or 6379}"
    import redis  # see `away`

    broker = redis.Redis.from_url(
        settings.BROKER_URL, socket_connect_timeout=away.BROKER_SECONDS, socket_timeout=away.BROKER_SECONDS
    )
    try:
        with broker:
            version = broker.info("server")["redis_version"]
    except (redis.RedisError, OSError, KeyError):
        return Line("Message broker", "Redis does not answer", where, "danger")
    return Line("Message broker", f"Redis {version}", where)


def _disk() -> Line:
    folder = str(settings.DATA_DIR)
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return Line("Data folder", "Cannot be read", f"{folder}: {error.strerror}", "danger")
    text = f"{size(usage.free)} free of {size(usage.total)}"
    return Line("Data folder", text, folder, "warning" if usage.free < LITTLE_BYTES else "")


def _backup() -> Line:
    """The newest of the backups that Keyturn takes every day."""
    label, folder = "Newest backup", str(settings.BACKUP_FOLDER)
    if not settings.BACKUP_RECIPIENTS:
        return Line(label, "Not taken by Keyturn", "Set KEYTURN_BACKUP_RECIPIENTS for one a day.", "warning")
    try:
        at = backups.newest()
    except OSError as error:
        return Line(label, "Cannot be read", f"{folder}: {error.strerror}", "danger")
    if at is None:
        return Line(label, "None yet", f"A worker takes it: {folder}", "warning")
    age = timezone.now() - at
    return Line(label, f"{durations.duration(age)} old", folder, "warning" if backups.late() else "ok", at=at)


def _journal() -> Line:
    label, place = "Credential journal", journal.place()
    if place is None:
        return Line(label, "None is kept", "Set KEYTURN_JOURNAL to a place apart from the database.")
    try:
        written = place.written()
    except Away as error:
        return Line(label, "Cannot be read", str(error), "danger")
    if written.at is None:
        return Line(label, "Empty", str(place))
    said = "In use" if written.size is None else size(written.size)
    return Line(label, said, f"{place}, last written", at=written.at)


def size(count: int) -> str:
    """A number of bytes as people read it: 1.5 GB."""
    for unit, bytes_ in _UNITS:
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count / 10**6:.1f} MB"


# ---------------------------------------------------------------- keys and the audit trail


def _keys() -> Iterator[Line]:
    try:
        address = keyring.root_key_address()
        provider = root_keys.at(address)
        yield Line("Root key provider", root_keys.label(address), str(provider))
        if address != settings.ROOT_KEY:
            yield Line(
                "Root key move", "Moved", f"Set KEYTURN_ROOT_KEY to {address}, then restart.", "warning"
            )
        note = "It tells the key from another one, and nothing else."
        yield Line("Root key id", provider.key_id().hex(), note, is_copied=True)
    except (root_keys.Unavailable, keyring.Sealed) as error:
        yield Line("Root key id", "Not available", str(error), "danger")


def _programs() -> Iterator[Line]:
    account = regions.account()
    yield Line(
        "Account number", account.number, "It is part of every ARN, and never changes.", is_copied=True
    )
    note = "What clients of AWS know the account by: 12 digits."
    yield Line("Account number for AWS", account.short_number, note, is_copied=True)
    if settings.OPEN_REGIONS:
        yield Line(
            "Unknown regions", "Created", "Each begins with the first secret that a program makes in it."
        )
    else:
        yield Line("Unknown regions", "Refused", "Programs name a region by its code or another name of it.")


def _audit() -> Iterator[Line]:
    head, last = AuditHead.objects.first(), AuditCheckpoint.objects.last()
    sequence = head.sequence if head else 0
    yield Line("Newest event", f"{sequence:,}")
    if last is None:
        yield Line("Last checkpoint", "None yet", "A worker signs the first one when it starts.", "warning")
    else:
        after = f"{sequence - last.sequence:,} newer events are not signed yet."
        yield Line("Last checkpoint", f"{last.sequence:,}", after, at=last.at)
    yield Line("Checkpoints are exported to", str(settings.AUDIT_EXPORT_FILE), _exported())


def _exported() -> str:
    try:
        newest = checkpoints.newest()
    except (OSError, checkpoints.Malformed):
        return "The file cannot be read."
    return f"Up to event {newest.sequence:,}." if newest else "Nothing is exported yet."
