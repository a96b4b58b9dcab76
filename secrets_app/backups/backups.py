"""Take, verify and restore backups, and keep the newest of a folder.

A backup counts only after it was read back to its end. It needs no root key and holds none: what it restores
opens with the keys of its installation only. A restore goes into an empty database, and its rows are one
transaction: all of them or none. What an earlier version has backed up is restored as it was, then brought up
to date.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction

from secrets_app.actions import Kind, arn
from secrets_app.audit import trail
from secrets_app.backups import container, rows
from secrets_app.backups.container import Opener
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Account
from secrets_app.people import users

log = logging.getLogger(__name__)

TAKEN: Final = "kms:BackupTaken"
EVERY: Final = timedelta(days=1)
LATE: Final = timedelta(hours=2)  # a worker may have been away at the time
_NAME: Final = re.compile(r"keyturn-(\d{8}T\d{6}Z)\.backup")
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class NotEmpty(DomainError):
    """A backup is restored into an empty database only; this one holds an installation."""

    code = "restore_not_empty"


class OtherSchema(DomainError):
    """This backup was made by a version of Keyturn that this one does not know."""

    code = "backup_of_other_schema"


class NoRecipient(DomainError):
    """A backup is encrypted: name an age public key, or a file with a passphrase."""

    code = "backup_recipient_missing"


@dataclass(frozen=True)
class Report:
    """What a backup holds."""

    program: str
    made_at: datetime
    store: str
    counts: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def take(path: Path, *, program: str, to: Sequence[str] = (), passphrase: Plaintext | None = None) -> Report:
    """Write a new backup to `path` and read it back; `program` is Keyturn's version.

    Raises `NoRecipient`, `container.BadRecipient`, `container.Damaged` where it could not be read back, or
    OSError.
    """
    report = _write(path, program, to, passphrase, apps)
    record(report)
    return report


def take_before_upgrade(
    path: Path, *, program: str, to: Sequence[str] = (), passphrase: Plaintext | None = None
) -> Report:
    """Write a backup of what an earlier version has left, for that version to restore; see `take`.

    The tables are read as they are, with no migration of this version. So it is not recorded: `record` does
    that once the tables are this version's. Raises also `rows.OfNewerVersion`.
    """
    return _write(path, f"before {program}", to, passphrase, rows.as_migrated())


def record(report: Report) -> None:
    """Write into the trail that a backup was taken."""
    trail.record(TAKEN, _trail(), actor=users.system(), details={"rows": report.rows})


def _write(path: Path, program: str, to: Sequence[str], passphrase: Plaintext | None, known: Any) -> Report:
    recipients = container.recipients(to)
    if not recipients and passphrase is None:
        raise NoRecipient(NoRecipient.__doc__)
    header = {
        "program": program,
        "schema": rows.schema(known),
        "made_at": datetime.now(UTC).isoformat(),
        "store": connection.vendor,
    }
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with rows.snapshot() as alias:
            own = container.write(part, header, rows.dump(alias, known), recipients, passphrase)
        report = _read_to_its_end(part, Opener(identity=own), known)
        os.link(part, path)  # never over another one
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return report


def verify(path: Path, opener: Opener) -> Report:
    """Read a backup to its end.

    Raises `container.DoesNotOpen`, `container.Damaged`, `OtherSchema` or OSError.
    """
    return _read_to_its_end(path, opener, _tables_of(container.header(path)))


def _read_to_its_end(path: Path, opener: Opener, known: Any) -> Report:
    told = container.header(path)
    if rows.tables_in(rows.columns_of(known)) != rows.tables_in(_schema(told)):
        raise _of_other_schema(told, "another")
    counts: dict[str, int] = {}
    for model, _ in rows.read(container.lines(path, opener), known):
        counts[model._meta.label_lower] = counts.get(model._meta.label_lower, 0) + 1
    return _report(told, counts)


def restore(path: Path, opener: Opener) -> Report:
    """Write a backup into the database, after it was read to its end, and bring it up to date.

    The database has no tables, or those of this version with nothing in them. One of an earlier version gets
    the tables of that version first; if bringing it up to date fails then, it is as that version left it.
    Raises `NotEmpty`, and as `verify`.
    """
    if rows.holds_an_installation():
        raise NotEmpty(NotEmpty.__doc__)
    report, told = verify(path, opener), container.header(path)
    known, done = _tables_of(told), rows.migrations_in(_schema(told))
    if not rows.can_become(done):
        raise NotEmpty("This backup is of an earlier version: restore it into a database without tables.")
    rows.migrate_to(done)
    with transaction.atomic():
        counts = rows.load(rows.read(container.lines(path, opener), known), known)
        if counts != report.counts:
            raise container.Damaged("This backup changed while it was read.")
    rows.migrate()
    return report


def _schema(told: dict[str, Any]) -> list[str]:
    return [str(line) for line in told.get("schema", [])]


def _tables_of(told: dict[str, Any]) -> Any:
    """The tables that a backup was made of: this version's, or an earlier one's. Raises `OtherSchema`."""
    done = rows.migrations_in(_schema(told))
    if strangers := rows.unknown(done):
        newer = "a newer" if not rows.missing_from(done) else "another"
        raise _of_other_schema(told, newer, f" This version does not know {', '.join(strangers)}.")
    return rows.after(done) if rows.missing_from(done) else apps


def _of_other_schema(told: dict[str, Any], which: str, why: str = "") -> OtherSchema:
    return OtherSchema(
        f"This backup was made by {which} version of Keyturn ({told.get('program')}).{why} Restore it with "
        "that version, then upgrade."
    )


def _report(told: dict[str, Any], counts: dict[str, int]) -> Report:
    return Report(
        str(told.get("program")), datetime.fromisoformat(str(told["made_at"])), str(told.get("store")), counts
    )


def _trail() -> str:
    account = Account.objects.first()
    return arn(Kind.AUDIT, "", account=account.number if account else "")


# ---------------------------------------------------------------- every day


def kept() -> list[tuple[datetime, Path]]:
    """The backups in the folder of the setting, newest first."""
    found = []
    folder = Path(settings.BACKUP_FOLDER)
    for path in folder.iterdir() if folder.is_dir() else ():
        if matched := _NAME.fullmatch(path.name):
            found.append((datetime.strptime(matched[1], _STAMP).replace(tzinfo=UTC), path))
    return sorted(found, reverse=True)


def newest() -> datetime | None:
    """When the newest backup in the folder was taken."""
    return next((at for at, _ in kept()), None)


def late() -> str:
    """Say that the backup of the day is missing; empty while it is there, or where none is taken."""
    if not settings.BACKUP_RECIPIENTS:
        return ""
    try:
        last = newest()
    except OSError as error:
        return f"{settings.BACKUP_FOLDER} cannot be read: {error.strerror}."
    if last is None:
        return "No backup has been taken yet."
    if datetime.now(UTC) - last > EVERY + LATE:
        return f"The newest backup is of {last:%Y-%m-%d %H:%M} UTC."
    return ""


def take_due(*, program: str, now: datetime | None = None) -> Path | None:
    """Take the backup of the day if it is due and a recipient is set; destroy those beyond what is kept."""
    now = now or datetime.now(UTC)
    last = newest()
    if not settings.BACKUP_RECIPIENTS or (last is not None and now - last < EVERY):
        return None
    folder = Path(settings.BACKUP_FOLDER)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"keyturn-{now.strftime(_STAMP)}.backup"
    report = take(path, program=program, to=settings.BACKUP_RECIPIENTS)
    log.info("Backup taken: %s, %s rows, read back.", path, report.rows)
    for _, old in kept()[settings.BACKUP_KEEP :]:
        old.unlink()
    return path
