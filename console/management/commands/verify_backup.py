"""Read a backup to its end: whether it is whole, and what it holds. Nothing is written."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from console.commands import backup_files, exits
from secrets_app.backups import backups
from secrets_app.errors import DomainError


class Command(BaseCommand):
    help = "Read a backup to its end and say whether it is whole. Needs no root key and writes nothing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        backup_files.add_openers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = backups.verify(options["file"], backup_files.opener(options))
        except DomainError as error:
            said = f"{options['file']}: {error}"
            raise CommandError(said, returncode=int(exits.of_error(error))) from None
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}", returncode=4) from None
        self.stdout.write(
            f"Whole: {report.rows:,} rows of {report.made_at:%Y-%m-%d %H:%M} UTC, from {report.store} and "
            f"Keyturn {report.program}."
        )
