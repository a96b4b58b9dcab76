"""Append to the journal, durably, before a host is told a value; and read it again.

Where the lines are kept is a place (`files`, `database`, `objects`), which the setting names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from secrets_app import keyring, seals
from secrets_app.journal import database, entries, files, objects
from secrets_app.journal.entries import Entry
from secrets_app.journal.places import Away, Place
from secrets_app.models import SecretVersion

log = logging.getLogger(__name__)


def place() -> Place | None:
    """Where the journal is kept, or None if none is."""
    address = settings.JOURNAL
    if address.startswith(database.SCHEMES):
        return database.DatabaseJournal(address, settings.JOURNAL_PASSWORD_FILE)
    if address.startswith(objects.SCHEME):
        return objects.ObjectJournal(address)
    return files.FileJournal(Path(address.removeprefix(files.SCHEME))) if address else None


def file() -> Path | None:
    """The file on this machine that is the journal, or None if none is."""
    found = place()
    return found.path if isinstance(found, files.FileJournal) else None


def make() -> Place:
    """Make an empty journal. Raises `Away` if the setting names none, or its place takes none."""
    found = place()
    if found is None:
        raise Away("KEYTURN_JOURNAL names no place.")
    found.make()
    return found


def append(version: SecretVersion) -> None:
    """Write a version that a host is about to hear; return once the disk has it.

    Nothing happens where no journal is kept. Raises `keyring.Sealed`, and `Away` unless the setting says to
    go on without it.
    """
    found = place()
    if found is None or version.sealed is None:
        return
    try:
        found.append(entries.line(version))
    except seals.KeyMissing as error:
        raise keyring.Sealed(str(error)) from None
    except Away as error:
        if settings.JOURNAL_REQUIRED:
            raise
        log.error("%s The rotation goes on without it.", error)


def problem() -> str:
    """Say why the journal cannot be written now; empty while it can, or where none is kept."""
    found = place()
    if found is None:
        return ""
    try:
        found.check()
    except Away as error:
        return str(error)
    return ""


def read(kept: Place) -> Iterator[Entry | None]:
    """Yield each line's entry; None for one that is not ours. Raises `seals.KeyMissing`, `Away`."""
    for raw in kept.lines():
        if raw.strip():
            yield entries.read(raw)
