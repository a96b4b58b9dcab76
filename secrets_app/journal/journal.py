"""Append to the journal, durably, before a host is told a value.

The file is made by a command and never here: where its disk is not mounted there is no file, and none is made
in the place where it should be. A line that a full disk cut is taken back; one that a crash cut is ended
before the next one.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from secrets_app import keyring, seals
from secrets_app.errors import DomainError
from secrets_app.journal import entries
from secrets_app.journal.entries import Entry
from secrets_app.models import SecretVersion

log = logging.getLogger(__name__)


class Away(DomainError):
    """The credential journal cannot be written, so no instance is told a new value."""

    code = "journal_away"


def place() -> Path | None:
    """The file of the journal, or None where none is kept."""
    return Path(settings.JOURNAL.removeprefix("file:")) if settings.JOURNAL else None


def make() -> Path:
    """Make an empty journal. Raises FileExistsError, OSError, or `Away` where the setting names none."""
    path = place()
    if path is None:
        raise Away("KEYTURN_JOURNAL names no file.")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    _sync(path.parent)
    return path


def append(version: SecretVersion) -> None:
    """Write a version that a host is about to hear; return once the disk has it.

    Nothing happens where no journal is kept. Raises `keyring.Sealed`, and `Away` unless the setting says to
    go on without it.
    """
    path = place()
    if path is None or version.sealed is None:
        return
    try:
        _append(path, entries.line(version))
    except seals.KeyMissing as error:
        raise keyring.Sealed(str(error)) from None
    except OSError as error:
        sentence = _sentence(path, error)
        if settings.JOURNAL_REQUIRED:
            raise Away(sentence) from None
        log.error("%s The rotation goes on without it.", sentence)


def problem() -> str:
    """Say why the journal cannot be written now; empty while it can, or where none is kept."""
    path = place()
    if path is None:
        return ""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_APPEND))
    except OSError as error:
        return _sentence(path, error)
    return ""


def _sentence(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"The credential journal {path} is not there. Mount its disk, or run: journal init."
    return f"The credential journal {path} cannot be written ({error.strerror})."


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # a crash has cut the line before
        try:
            rest = line
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def read(path: Path) -> Iterator[Entry | None]:
    """Yield each line's entry; None for one that is not ours. Raises `seals.KeyMissing`, OSError."""
    with path.open("rb") as file:
        for raw in file:
            if raw.strip():
                yield entries.read(raw)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
