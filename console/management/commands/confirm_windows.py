"""Compare a real Windows host with what the WinRM connector assumes: `./keyturn confirm-windows ADDRESS`."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from console.commands import exits, given
from console.commands.exits import Exit
from rotation import wires
from rotation.connectors import base
from rotation.connectors.winrm import confirming
from rotation.inventory import instances, management
from secrets_app.crypto import passwords
from secrets_app.errors import DomainError


class Command(BaseCommand):
    help = (
        "Walk every call of the WinRM connector on one Windows host, with an account that nothing needs: its "
        "password is changed. The password of the management account is read from standard input. Registers "
        "nothing. Prints what was assumed and what was found, and writes it to a file without values."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.__class__ = given.CarefulParser
        parser.allow_abbrev = False
        parser.add_argument("address", help="a host name or an IP address")
        parser.add_argument("--port", type=int, default=wires.WINRM.ports[0])
        parser.add_argument("--login", required=True, help="the management account, an administrator")
        parser.add_argument("--account", required=True, help="a local account that nothing needs")
        parser.add_argument("--fingerprint", help="of its certificate, as the host itself shows it")
        parser.add_argument("--http-port", type=int, default=0, help="where it takes HTTP, to try that too")
        parser.add_argument(
            "--service", default="", help="one that runs as the account and nothing needs; it is restarted"
        )
        parser.add_argument(
            "--kerberos",
            default="",
            metavar="USER@REALM",
            help="an administrator of its domain, to try Kerberos too: its password is the second line",
        )
        parser.add_argument("--output", type=Path, required=True, help="the file to write")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            findings = self._walked(options)
        except DomainError as error:
            self.stderr.write(error.sentence)
            raise SystemExit(int(exits.of_error(error))) from None
        except base.ConnectorError as error:
            self.stderr.write(str(error))
            raise SystemExit(int(Exit.UNREACHABLE)) from None
        rows = [
            {"call": f.call, "assumed": f.assumed, "found": f.found, "is_as_assumed": f.is_as_assumed}
            for f in findings
        ]
        options["output"].write_text(json.dumps(rows, indent=1) + "\n")
        differing = sum(not finding.is_as_assumed for finding in findings)
        self.stdout.write(
            f"{len(findings)} calls, {differing} not as assumed. Written to {options['output']}."
        )
        if differing:
            raise SystemExit(int(Exit.FAILED))

    def _walked(self, options: dict[str, Any]) -> list[confirming.Finding]:
        place = base.Endpoint(
            options["address"], options["port"], networks=instances.networks(), wire=wires.WINRM.name
        )
        shown = wires.WINRM.scanner.scan(place, timeout=confirming.TIMEOUT)
        approved = [key for key in shown if key.fingerprint == options["fingerprint"]]
        if not approved:
            for key in shown:
                self.stderr.write(f"It shows {key.fingerprint}")
            self.stderr.write("Compare it on the host itself, and name it with --fingerprint.")
            raise SystemExit(int(Exit.IDENTITY))
        domain = None
        if options["kerberos"]:
            management.check_account_name(options["kerberos"], wires.KERBEROS.name)
            first, second = given.two_values()
            domain = base.Login(options["kerberos"], password=second, by_kerberos=True)
        login = base.Login(options["login"], password=first if domain else given.value())
        at = base.Endpoint(
            place.address, place.port, (approved[0].line,), networks=place.networks, wire=place.wire
        )
        policy = passwords.Policy()
        values = confirming.Values(*(policy.generate() for _ in range(4)))
        findings = []
        chosen = confirming.Place(
            at, login, options["account"], options["http_port"], options["service"], domain
        )
        for found in confirming.walk(chosen, values, int(time.time()) * 10):
            findings.append(found)
            mark = "as assumed" if found.is_as_assumed else f"NOT AS ASSUMED: {found.assumed}"
            self.stdout.write(f"{found.call:<56} {found.found:<28} {mark}")
        return findings
