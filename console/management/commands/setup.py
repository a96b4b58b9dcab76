"""Prepare the data folder, the database and the keys; safe to repeat, and it never replaces any of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from console.sign_in import first_password
from secrets_app import keyring, regions, root_keys
from secrets_app.models import User
from secrets_app.people import users

SET_UP_LOCK = 5_398_127_044_316_001  # of PostgreSQL's advisory locks; any number that nothing else takes


class StaysSealed(CommandError):
    """A key file is missing or is not the one of this database; the message names it."""


class Command(BaseCommand):
    help = "Prepare the data folder, the database, the root key and the first administrator. Safe to repeat."
    # The checks of the database need the tables that this makes.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        make_data_folder(settings.DATA_DIR)
        # Of several set-ups at once the others wait, and find nothing left to do.
        with _alone_here(settings.DATA_DIR), _alone_at_the_database():
            self._prepare()

    def _prepare(self) -> None:
        _make_session_key(settings.SECRET_KEY_FILE)
        _migrate()
        _require_account()
        _close_database_files()
        self.check(databases=["default"], tags=[checks.Tags.database])  # what it may lose
        call_command("collectstatic", verbosity=0, interactive=False)
        self._prepare_keys()
        self._prepare_people()

    def _prepare_keys(self) -> None:
        try:
            is_new = keyring.ensure_root_key()
        except keyring.Sealed as sealed:
            raise StaysSealed(
                f"SEALED: {sealed} Put the right key file back; nothing can be read or rotated until then."
            ) from None
        if is_new:
            self.stdout.write(f"Root key    {root_keys.provider()}")
            self.stdout.write(
                "            Without this file nothing in the database can be decrypted. Back it up now,\n"
                "            separately from the database: both together give access to every value."
            )
            self.stdout.write(f"Audit keys  {settings.AUDIT_KEY_FILE}")
            self.stdout.write(f"            {settings.CHECKPOINT_KEY_FILE}")
            self.stdout.write(
                "            They prove that the audit trail is unchanged. Back them up with the root\n"
                "            key: without the first of them Keyturn stays sealed."
            )
            self.stdout.write(f"Seal key    {settings.SEAL_KEY_FILE}")
            self.stdout.write(
                "            It shows that rights, users and addresses in the database are as Keyturn wrote\n"
                "            them. Back it up with the root key: without it Keyturn stays sealed."
            )

    def _prepare_people(self) -> None:
        regions.account()
        first = users.create_first_administrator()
        if first is None:
            if not User.objects.filter(username=users.FIRST_NAME, must_change_password=True).exists():
                first_password.remove()
            return
        user, password = first
        self.stdout.write(f"Sign in as  {user.username}")
        if self.stdout.isatty():
            # The one time that it is shown; it must be changed at the first sign-in.
            self.stdout.write(f"Password    {password.reveal()}")
            self.stdout.write("            Shown only now; you choose your own when you sign in.")
            return
        try:
            first_password.keep(password)
        except OSError as error:
            raise CommandError(
                f"{first_password.file()} cannot be written ({error.strerror}). For a password run: "
                f"manage.py recover {user.username}"
            ) from None
        self.stdout.write(f"Password    in the file {first_password.file()}")
        self.stdout.write("            It is removed when you choose your own, at the first sign-in.")


@contextlib.contextmanager
def _alone_here(folder: Path) -> Iterator[None]:
    """Hold the data folder's set-up until the block ends, or the process does."""
    with (folder / "setup.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _alone_at_the_database() -> Iterator[None]:
    """Hold the database's set-up too: another machine has another folder."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [SET_UP_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SET_UP_LOCK])


def make_data_folder(folder: Path) -> None:
    """Make the folder, for its owner only. Raises `CommandError`, naming what chooses another."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise CommandError(
            f"The data folder {folder} cannot be made or is not yours ({error.strerror}). Set KEYTURN_DATA."
        ) from None


def _migrate() -> None:
    """Bring the database up to date; a file of SQLite wholly or not at all.

    Django writes down that a migration is done after some of them have ended, so that a set-up killed in
    between could never be repeated. Foreign keys are checked by Django meanwhile: SQLite cannot be asked to
    leave them unchecked once a transaction has begun.
    """
    if not settings.IS_SQLITE:
        call_command("migrate", verbosity=0, interactive=False)
        return
    connection.disable_constraint_checking()
    try:
        with transaction.atomic():
            call_command("migrate", verbosity=0, interactive=False)
    finally:
        connection.enable_constraint_checking()


def _require_account() -> None:
    """Return if the settings name no other account number than there is. Raises `CommandError`."""
    try:
        regions.require_number(settings.ACCOUNT_NUMBER)
    except regions.NumberStays as error:
        raise CommandError(str(error)) from None


def _close_database_files() -> None:
    """Take from others what an earlier version left open to them: only the folder's mode kept them out."""
    if settings.IS_SQLITE:
        for ending in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{settings.DATABASES['default']['NAME']}{ending}").chmod(0o600)


def _make_session_key(path: Path) -> None:
    """Make it if there is none. Raises `CommandError`, naming what chooses another place."""
    if path.exists():
        return
    try:
        _write_session_key(path)
    except OSError as error:
        raise CommandError(
            f"The session key {path} cannot be made ({error.strerror}). Set KEYTURN_SECRET_KEY_FILE."
        ) from None


def _write_session_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written apart and linked into place: a start that is interrupted leaves no half key behind.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    draft.rename(path)
