"""The root key, from the command line of Keyturn's machine: what it is, its move, its shares.

A share is shown and entered on a terminal only, on its second screen, which keeps no lines to scroll back to.
It goes into no file, no log and no command line.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.commands import exits
from secrets_app import keyring, root_keys
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.keys import root_key_moves
from secrets_app.people import users
from secrets_app.root_keys import escrow
from secrets_app.root_keys.file import FileRootKey


class Command(BaseCommand):
    help = "Show the root key, move everything to another one while Keyturn runs, keep it in shares."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("status", help="which root key is in use, and how far a move is")
        move = what.add_parser(
            "move", help="wrap every key version by another root key; repeat it if it was killed"
        )
        what.add_parser("escrow", help="show a root key in a file as five shares, of which three are the key")
        what.add_parser("drill", help="see whether three shares are the root key; nothing is written")
        what.add_parser("recover", help="write the root key's file from three shares, where it is gone")
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

    def _escrow(self, options: dict[str, Any]) -> None:
        root_key = self._in_a_file()
        with self._second_screen():
            for number, share in enumerate(root_key.shares(), start=1):
                self._clear()
                self.stdout.write(f"Share {number} of {escrow.SHARES}. Any {escrow.NEEDED} are the root key.")
                self.stdout.write("Write it down on paper, for one user alone, apart from the others.\n")
                self.stdout.write(_in_rows(share))
                input("\nEnter shows the next one; this one is not shown again. ")
        root_key_moves.record_shares(root_key_moves.ESCROWED)
        self.stdout.write("Five shares were shown. Try three of them now: ./keyturn root-key drill")

    def _drill(self, options: dict[str, Any]) -> None:
        root_key = self._in_a_file()
        is_right = root_key.is_of(self._entered())
        root_key_moves.record_shares(root_key_moves.DRILL, is_right=is_right)
        if not is_right:
            raise CommandError("These shares are of another root key.", returncode=int(exits.Exit.FAILED))
        self.stdout.write("These three shares are the root key of this installation. Nothing was written.")

    def _recover(self, options: dict[str, Any]) -> None:
        root_key = self._in_a_file()
        root_key.recover(self._entered())
        self.stdout.write(f"Written: {root_key}. Start Keyturn: it says whether it is the right one.")

    def _in_a_file(self) -> FileRootKey:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CommandError(
                "Shares are shown and entered on a terminal only.", returncode=int(exits.Exit.USAGE)
            )
        root_key = root_keys.at(settings.ROOT_KEY)
        if not isinstance(root_key, FileRootKey):
            raise CommandError(
                f"{root_key} is in no file of Keyturn's: back it up as its own place does.",
                returncode=int(exits.Exit.INVALID),
            )
        return root_key

    def _entered(self) -> list[Plaintext]:
        shares: list[Plaintext] = []
        with self._second_screen():
            note = ""
            while len(shares) < escrow.NEEDED:
                self._clear()
                self.stdout.write(note)
                text = Plaintext(input(f"Share {len(shares) + 1} of {escrow.NEEDED}, its words in order: "))
                try:
                    shares.append(escrow.read(text))
                    note = ""
                except escrow.BadShare as error:
                    note = str(error)
        return shares

    @contextmanager
    def _second_screen(self) -> Iterator[None]:
        self.stdout.write("\033[?1049h", ending="")
        try:
            yield
        finally:
            self._clear()
            self.stdout.write("\033[?1049l", ending="")
            self.stdout.flush()

    def _clear(self) -> None:
        self.stdout.write("\033[2J\033[H", ending="")
        self.stdout.flush()

    def _advise(self, address: str) -> None:
        if root_key_moves.under_way():
            self.stdout.write("A move has not ended: run it again with the same address.")
        elif address != settings.ROOT_KEY:
            self.stdout.write(f"Set this for every process, then restart them: KEYTURN_ROOT_KEY='{address}'")
            self.stdout.write(
                "Keep the old root key as long as a backup from before the move may be restored."
            )


def _in_rows(share: Plaintext) -> str:
    """Its words with their numbers, four in a row."""
    words = [f"{number:2}. {word:<10}" for number, word in enumerate(share.reveal().split(), start=1)]
    return "\n".join("".join(words[first : first + 4]) for first in range(0, len(words), 4))
