"""Back up what an earlier version has left, then bring the database up to date. Run with the new version."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from console.commands import backup_files, exits
from console.management.commands.setup import make_data_folder
from console.version import product_version
from secrets_app.backups import backups, rows
from secrets_app.errors import DomainError
from secrets_app.models import Account


class Command(BaseCommand):
    help = "Back up the database, then bring it up to date. Stop Keyturn first, and run the new version's."
    # The checks of the database need the tables that this makes.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, metavar="FILE", help="a new file (in KEYTURN_BACKUP_FOLDER)")
        parser.add_argument("--recipient", action="append", default=[], metavar="AGE1", help="age public key")
        parser.add_argument("--passphrase-file", type=Path, help="the file that holds it")

    def handle(self, *args: Any, **options: Any) -> None:
        make_data_folder(settings.DATA_DIR)
        taken = self._back_up(options) if rows.pending() and _holds_tables() else None
        call_command("setup", stdout=self.stdout)
        if taken is None:
            self.stdout.write("No backup was taken: there was nothing to upgrade.")
            return
        backups.record(taken)
        self.stdout.write("The database is up to date. Start Keyturn.")

    def _back_up(self, options: dict[str, Any]) -> backups.Report:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = options["to"] or Path(settings.BACKUP_FOLDER) / f"keyturn-before-upgrade-{stamp}.backup"
        to = options["recipient"] or ([] if options["passphrase_file"] else settings.BACKUP_RECIPIENTS)
        try:
            passphrase = backup_files.secret_in(options["passphrase_file"])
            if options["to"] is None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            report = backups.take_before_upgrade(
                path, program=product_version(), to=to, passphrase=passphrase
            )
        except DomainError as error:
            said = f"Nothing was changed. {error}"
            raise CommandError(said, returncode=int(exits.of_error(error))) from None
        except OSError as error:
            said = f"Nothing was changed. {path}: {error.strerror}"
            raise CommandError(said, returncode=int(exits.Exit.FAILED)) from None
        self.stdout.write(f"Taken and read back: {path}, {report.rows:,} rows. The version that was here")
        self.stdout.write("before restores it as it is; this one restores it and brings it up to date.")
        return report


def _holds_tables() -> bool:
    return Account._meta.db_table in connection.introspection.table_names()
