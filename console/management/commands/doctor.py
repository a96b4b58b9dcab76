"""Check the installation, and say of each part what is wrong and what to do."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, ClassVar, Final

from django.core.management.base import BaseCommand

from console.commands.exits import Exit
from console.watching import doctor, findings
from console.watching.findings import State

_EXITS: Final = {
    State.OK: Exit.DONE,
    State.WARNING: Exit.WARNING,
    State.UNKNOWN: Exit.UNKNOWN,
    State.PROBLEM: Exit.PROBLEM,
}


class Command(BaseCommand):
    help = (
        "Check database, broker, keys, files, processes, queue, backups and address. The exit code is "
        "that of the worst finding: 0 ok, 14 a warning, 15 something could not be checked, 16 a problem."
    )
    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        # A database that does not even refuse must not keep the doctor waiting: libpq reads this.
        os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
        parts = doctor.parts()
        found = [finding for part in parts for finding in part.findings]
        worst = findings.worst(found)
        if options["json"]:
            document = {"state": worst, "checks": [asdict(finding) for finding in found]}
            self.stdout.write(json.dumps(document))
        else:
            for finding in found:
                self.stdout.write(f"{finding.state:<8} {finding.title:<20} {finding.sentence}")
                if finding.advice:
                    self.stdout.write(f"{'':<29} {finding.advice}")
        if _EXITS[worst]:
            raise SystemExit(int(_EXITS[worst]))
