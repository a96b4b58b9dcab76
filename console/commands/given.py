"""What a script gives a command: values on standard input only, and a command line that is never repeated.

Every user of the machine can read the command line of a running program, and a shell keeps it. So no option
takes a value, and an argument that is not understood is not printed: it may be a value in the wrong place.
"""

from __future__ import annotations

import re
import sys
from typing import NoReturn

from django.core.management.base import CommandError, CommandParser

from console.commands.exits import Exit
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

MOST_BYTES = 64 * 1024  # of a value; a private key has a few thousand

#: How argparse says what is wrong with an argument, up to where it repeats it.
_REPEATS = re.compile(
    r"(unrecognized arguments|invalid choice|invalid \S+ value|ignored explicit argument)\b.*", re.S
)


class NotPiped(DomainError):
    """A value comes on standard input, through a pipe or from a file, and never on the command line."""

    code = "value_not_piped"


class Invalid(DomainError, ValueError):
    """Something that was given cannot be used; the message says what."""

    code = "invalid_argument"


class CarefulParser(CommandParser):
    """A parser that says which argument is wrong and never what it was."""

    def error(self, message: str) -> NoReturn:
        told = _REPEATS.sub(r"\1; it is not repeated here", message)
        if not self.called_from_command_line:
            raise CommandError(f"Error: {told}", returncode=Exit.USAGE)
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: error: {told}\nValues are read from standard input only.\n")


def value() -> Plaintext:
    """Return the value on standard input, without the line end after it. Raises `NotPiped` or `Invalid`."""
    text = _read().removesuffix("\n").removesuffix("\r")
    if not text:
        raise NotPiped("Standard input holds no value.")
    return Plaintext(text)


def two_values() -> tuple[Plaintext, Plaintext]:
    """Return the first line of standard input, and all that follows it. Raises `NotPiped` or `Invalid`."""
    first, _, rest = _read().partition("\n")
    first, rest = first.removesuffix("\r"), rest.removesuffix("\n").removesuffix("\r")
    if not first or not rest:
        raise NotPiped("Standard input holds one value; two are needed, the first one in a line of its own.")
    return Plaintext(first), Plaintext(rest)


def certificate(path: str) -> str:
    """Return what is in this file, or on standard input for `-`. Raises `NotPiped` or `Invalid`."""
    if path == "-":
        return _read()
    try:
        with open(path, "rb") as file:
            return _text(file.read(MOST_BYTES + 1), "file")
    except OSError as error:
        raise Invalid(f"The file of the certificate cannot be read: {error.strerror}.") from None


def _read() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise NotPiped("Standard input is a terminal, which would show the value. Use a pipe or a file.")
    return _text(sys.stdin.buffer.read(MOST_BYTES + 1), "value on standard input")


def _text(read: bytes, what: str) -> str:
    if len(read) > MOST_BYTES:
        raise Invalid(f"The {what} is too long.")
    try:
        return read.decode()
    except UnicodeDecodeError:
        raise Invalid(f"The {what} is not text in UTF-8.") from None
