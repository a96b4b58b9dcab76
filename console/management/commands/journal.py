"""The credential journal, from the command line of Keyturn's machine: make it, and bring back what it has."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from console.commands import exits
from rotation import accounts, runs
from rotation.models import Run
from secrets_app.errors import DomainError
from secrets_app.journal import journal, replay
from secrets_app.journal.files import FileJournal
from secrets_app.people import users


class Command(BaseCommand):
    help = "Make the journal of KEYTURN_JOURNAL, or bring back from it what an older database does not have."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("init", help="make an empty journal")
        replayed = what.add_parser("replay", help="after the restore of an older backup; can be repeated")
        replayed.add_argument("--file", type=Path, help="another journal than that of KEYTURN_JOURNAL")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['what']}")(options)
        except DomainError as error:
            raise CommandError(str(error), returncode=int(exits.of_error(error))) from None

    def _init(self, options: dict[str, Any]) -> None:
        self.stdout.write(f"Made: {journal.make()}")

    def _replay(self, options: dict[str, Any]) -> None:
        kept = FileJournal(options["file"]) if options["file"] else journal.place()
        if kept is None:
            raise CommandError(
                "KEYTURN_JOURNAL names no place; use --file.", returncode=int(exits.Exit.USAGE)
            )
        done = replay.replay(kept)
        self.stdout.write(f"{done.imported} values brought back, {done.known} known, {done.mended} mended.")
        if done.not_ours:
            self.stdout.write(f"Left out: {done.not_ours} lines, torn, changed or of another installation.")
        for lost in (done.without_secret, done.without_key):
            for name in sorted(lost.values()):
                self.stdout.write(f"Not brought back: {name}; it, or its key, was created after the backup.")
        for secret in done.pending:
            if accounts.of(secret) is not None:
                runs.start(secret, actor=users.system(), trigger=Run.Trigger.RESTORE)
        self.stdout.write(f"{len(done.pending)} runs ask the instances, once the restore is acknowledged.")
