"""The audit trail and the seals of the rows that decide, from the command line of Keyturn's machine."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import BaseCommand, CommandError

from console.siem import shapes
from console.version import product_version
from secrets_app import actions, regions, seals
from secrets_app.audit import audit_keys, checkpoints, trail, verification
from secrets_app.audit.verification import Verdict
from secrets_app.integrity import seal_check
from secrets_app.models import AuditEvent
from secrets_app.people import users


class Command(BaseCommand):
    help = (
        "Verify the audit trail and the seals of the records that decide (exit code 0 whole, 1 broken, 2 "
        "could not be checked), export it, sign it, show its key, accept a record that was changed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        verify = what.add_parser("verify", help="check every event and every checkpoint")
        verify.add_argument("--checkpoints", type=Path, help="a file of exported checkpoints, kept elsewhere")
        export = what.add_parser("export", help="print events, oldest first, one a line")
        export.add_argument(
            "--format", choices=sorted(shapes.SHAPES), default="cloudtrail", help="default: cloudtrail"
        )
        export.add_argument(
            "--after",
            type=int,
            default=0,
            metavar="SEQUENCE",
            help="only events after the one of this number",
        )
        what.add_parser("checkpoint", help="sign how far the trail goes, and export it")
        what.add_parser("key", help="print the public key that checks exported checkpoints")
        accept = what.add_parser(
            "accept", help="seal a record that verify has named, with its current content"
        )
        accept.add_argument("record", help="its name, as verify prints it")
        accept.add_argument(
            "--reason", required=True, help="why its current content is right; recorded in the audit trail"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['what']}")(options)
        except (audit_keys.KeyMissing, seals.KeyMissing) as error:
            raise CommandError(str(error), returncode=Verdict.UNKNOWN) from None

    def _verify(self, options: dict[str, Any]) -> None:
        report = verification.verify(file=options["checkpoints"], progress=self._tell)
        for note in report.notes:
            self.stdout.write(note)
        if report.verdict == Verdict.WHOLE:
            self.stdout.write(
                f"Whole: {report.events:,} events, {report.checkpoints:,} checkpoints compared."
            )
            self.stdout.write(report.tail)
        else:
            self.stderr.write(report.sentence)
        broken = list(seal_check.broken())
        for row in broken:
            self.stderr.write(f"{row.sentence} {row.name}")
        if report.verdict != Verdict.WHOLE or broken:
            sys.exit(report.verdict or Verdict.BROKEN)

    def _accept(self, options: dict[str, Any]) -> None:
        name = options["record"]
        try:
            seal_check.accept(name, actor=users.system(), reason=options["reason"])
        except (LookupError, ObjectDoesNotExist, ValueError, ValidationError):
            raise CommandError(f"There is no record {name}. Use a name that verify prints.") from None
        self.stdout.write(f"Accepted: {name}.")

    def _export(self, options: dict[str, Any]) -> None:
        """Print them, and say on standard error where the next export begins."""
        rows = AuditEvent.objects.filter(sequence__gt=options["after"]).order_by("sequence")
        last = AuditEvent.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0
        shape = shapes.SHAPES[options["format"]]
        trail.record(
            "kms:ExportAuditEvents",
            actions.arn(actions.Kind.AUDIT, "", account=regions.account().number),
            actor=users.system(),
            details={"format": shape.name, "filters": {"after": str(options["after"])}},
        )
        events = rows.filter(sequence__lte=last).select_related("actor").iterator(chunk_size=500)
        for line in shapes.lines(events, shape, version=product_version()):
            self.stdout.write(line, ending="")
        self.stderr.write(f"Up to event {last:,}: continue with --after {last}")

    def _tell(self, events: int) -> None:
        if events % 100_000 == 0:
            self.stderr.write(f"{events:,} events ...")

    def _checkpoint(self, options: dict[str, Any]) -> None:
        try:
            checkpoint = checkpoints.take()
        except checkpoints.Contradicted as error:
            raise CommandError(str(error), returncode=Verdict.BROKEN) from None
        self.stdout.write(
            f"Signed up to event {checkpoint.sequence:,}."
            if checkpoint
            else "Nothing new since the last checkpoint."
        )
        try:
            count = checkpoints.export()
        except (OSError, checkpoints.Malformed) as error:
            raise CommandError(f"{settings.AUDIT_EXPORT_FILE}: {error}") from None
        self.stdout.write(f"{count} written to {settings.AUDIT_EXPORT_FILE}.")

    def _key(self, options: dict[str, Any]) -> None:
        self.stdout.write(audit_keys.public_key())
