"""Write a backup into an empty database, after it was read to its end."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.commands import backup_files, exits
from console.management.commands.setup import make_data_folder
from secrets_app.backups import backups
from secrets_app.errors import DomainError


class Command(BaseCommand):
    help = "Write a backup into an empty database. Then put the key files back and start Keyturn."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        backup_files.add_openers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        make_data_folder(settings.DATA_DIR)
        try:
            report = backups.restore(options["file"], backup_files.opener(options))
        except DomainError as error:
            said = f"{options['file']}: {error}"
            raise CommandError(said, returncode=int(exits.of_error(error))) from None
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}", returncode=4) from None
        self.stdout.write(f"Restored: {report.rows:,} rows of {report.made_at:%Y-%m-%d %H:%M} UTC.")
        self.stdout.write(
            "It has no value that was rotated since. Restore the key files, start Keyturn, then"
        )
        self.stdout.write("acknowledge the restore and choose Verify all (docs/operations.md).")
