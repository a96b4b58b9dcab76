"""Print what this installation is made of: a CycloneDX document, or a list of licences."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.commands import bill_of_materials, exits


class Command(BaseCommand):
    help = (
        "Print the packages of this installation with versions, hashes and licences, as CycloneDX 1.6 (JSON)."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--licences", action="store_true", help="a line for each package instead")
        parser.add_argument(
            "--root-keys", action="store_true", help="with the libraries of a root key outside a file"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lock = bill_of_materials.LOCK_WITH_ROOT_KEYS if options["root_keys"] else bill_of_materials.LOCK
        try:
            found = bill_of_materials.packages(settings.BASE_DIR / lock)
        except bill_of_materials.NotAsLocked as error:
            raise CommandError(str(error), returncode=int(exits.of_error(error))) from None
        if options["licences"]:
            for package in found:
                self.stdout.write(f"{package.name} {package.version}: {', '.join(package.licences)}")
            return
        self.stdout.write(bill_of_materials.document(settings.BASE_DIR, found), ending="")
