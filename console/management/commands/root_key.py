"""The root key, from the command line of Keyturn's machine: what it is, and its move to another place."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.commands import exits
from secrets_app import keyring, root_keys
from secrets_app.errors import DomainError
from secrets_app.keys import root_key_moves
from secrets_app.people import users


class Command(BaseCommand):
    help = "Show the root key, or move everything to another one while Keyturn runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("status", help="which root key is in use, and how far a move is")
        move = what.add_parser(
            "move", help="wrap every key version by another root key; repeat it if it was killed"
        )
        move.add_argument("--to", required=True, metavar="ADDRESS", help="as KEYTURN_ROOT_KEY takes it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['what']}")(options)
        except DomainError as error:
            raise CommandError(str(error), returncode=int(exits.of_error(error))) from None

    def _status(self, options: dict[str, Any]) -> None:
        keyring.forget()
        address = keyring.root_key_address()
        self.stdout.write(f"Root key    {root_keys.at(address)}")
        self.stdout.write(f"            {root_keys.label(address)}")
        self.stdout.write(f"Id          {root_keys.at(address).key_id().hex()}")
        for name, count in root_key_moves.counted().items():
            self.stdout.write(f"Wraps       {count} key versions: {root_keys.at(name)}")
        self._advise(address)

    def _move(self, options: dict[str, Any]) -> None:
        keyring.forget()
        move = root_key_moves.start(options["to"], actor=users.system())
        for done in root_key_moves.carry(move):
            self.stdout.write(f"{done} of {move.total}")
        self.stdout.write(f"Moved. {root_keys.at(move.target)} has wrapped every key version.")
        self._advise(move.target)

    def _advise(self, address: str) -> None:
        if root_key_moves.under_way():
            self.stdout.write("A move has not ended: run it again with the same address.")
        elif address != settings.ROOT_KEY:
            self.stdout.write(f"Set this for every process, then restart them: KEYTURN_ROOT_KEY='{address}'")
            self.stdout.write(
                "Keep the old root key as long as a backup from before the move may be restored."
            )
