"""What opens a backup, from files of the user alone: never from a command line."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secrets_app.backups.container import Opener
from secrets_app.crypto import key_files
from secrets_app.crypto.plaintext import Plaintext


def add_openers(parser: ArgumentParser) -> None:
    """Have the command ask for exactly one of them."""
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--identity-file", type=Path, help="the file with the age secret key (age-keygen)")
    how.add_argument("--passphrase-file", type=Path, help="the file that holds the passphrase")


def opener(options: Mapping[str, Any]) -> Opener:
    """Return what the files hold. Raises `key_files.Unreadable`."""
    if (identity := secret_in(options["identity_file"])) is not None:
        lines = [line for line in identity.reveal().splitlines() if line.strip() and not line.startswith("#")]
        return Opener(identity=Plaintext(lines[0].strip() if lines else ""))
    return Opener(passphrase=secret_in(options["passphrase_file"]))


def secret_in(path: Path | None) -> Plaintext | None:
    """Return what a private file holds. Raises `key_files.Unreadable`."""
    return None if path is None else Plaintext(key_files.read_private(path))
