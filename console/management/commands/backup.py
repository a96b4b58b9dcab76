"""Take a backup while Keyturn runs: encrypted, and read back before it counts."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.commands import backup_files, exits
from console.version import product_version
from secrets_app.backups import backups
from secrets_app.errors import DomainError


class Command(BaseCommand):
    help = "Write an encrypted backup of the database to a new file, while Keyturn runs, and read it back."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, metavar="FILE", help="a new file (in KEYTURN_BACKUP_FOLDER)")
        parser.add_argument("--recipient", action="append", default=[], metavar="AGE1", help="age public key")
        parser.add_argument("--passphrase-file", type=Path, help="the file that holds it")

    def handle(self, *args: Any, **options: Any) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = options["to"] or Path(settings.BACKUP_FOLDER) / f"keyturn-{stamp}.backup"
        to = options["recipient"] or ([] if options["passphrase_file"] else settings.BACKUP_RECIPIENTS)
        try:
            passphrase = backup_files.secret_in(options["passphrase_file"])
            if options["to"] is None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            report = backups.take(path, program=product_version(), to=to, passphrase=passphrase)
        except DomainError as error:
            raise CommandError(str(error), returncode=int(exits.of_error(error))) from None
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=int(exits.Exit.FAILED)) from None
        self.stdout.write(f"Taken and read back: {path}, {report.rows:,} rows.")
        self.stdout.write("Its values open with the keys of this installation only: keep those apart.")
