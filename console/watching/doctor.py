"""All checks of the installation, for the command and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from console.watching import findings, machine, store, work
from console.watching.findings import Check, Finding


@dataclass(frozen=True)
class Part:
    """Findings that belong together."""

    title: str
    findings: tuple[Finding, ...]


def _parts() -> Iterator[tuple[str, list[Check]]]:
    """The checks; the first one says whether the database can be asked at all."""
    is_embedded = settings.BROKER_URL.startswith("embedded")
    yield (
        "Storage",
        [
            Check("set-up", "Set-up", store.set_up),
            Check("database", "Database", store.database, asks_database=True),
            *(
                [Check("connections", "Connections", store.connections, asks_database=True)]
                if connection.vendor == "postgresql"
                else []
            ),
            Check("clock", "Clock", store.clock, asks_database=True),
            Check("broker", "Message broker", store.broker, asks_database=is_embedded),
            Check("disk", "Disk", machine.disk),
        ],
    )
    yield (
        "Keys and files",
        [
            Check("keys", "Keys", machine.keys, asks_database=True),
            Check("keys-apart", "Place of the keys", machine.apart),
            Check("files", "File modes", machine.files),
            Check("first-password", "First password", machine.first_sign_in),
        ],
    )
    yield (
        "Work",
        [
            Check("worker", "Worker", work.worker, asks_database=True),
            Check("beat", "Beat", work.beat, asks_database=True),
            Check("queue", "Oldest due run", work.queue, asks_database=True),
            Check("messages", "Queue", work.messages, asks_database=True),
            Check("schedules", "Schedules", work.schedules, asks_database=True),
        ],
    )
    yield (
        "Records and backups",
        [
            Check("trail", "Audit trail", work.trail, asks_database=True),
            Check("records", "Records", work.records, asks_database=True),
            Check("backup", "Backup", work.backup),
            Check("journal", "Credential journal", work.credential_journal, asks_database=True),
        ],
    )
    yield "Address", [Check("address", "TLS", machine.address)]


def parts(headers: Mapping[str, str] | None = None, *, is_secure: bool = False) -> list[Part]:
    """Make every check; `headers` are those of the request that asks, if one does."""
    grouped = list(_parts())
    if headers is not None:
        grouped[-1][1].append(Check("proxy", "Proxy", lambda: machine.proxy(headers, is_secure=is_secure)))
    found = iter(findings.look([check for _, checks in grouped for check in checks]))
    return [Part(title, tuple(next(found) for _ in checks)) for title, checks in grouped]
