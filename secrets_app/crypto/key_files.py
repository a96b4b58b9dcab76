"""Keys that stand in files of their own: what only the owner of the file may read.

Writes a key once and never over another; keeps none in memory and knows no row. A file that others may read
or change is refused, as ssh(1) refuses such a private key: a key that was readable by all users for a year is
found on the first day and not after the theft. There is no exception for a group: mount a secret with mode
0400 and the owner that Keyturn runs as.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from secrets_app.crypto import envelope
from secrets_app.errors import DomainError


class Unreadable(DomainError):
    """The file is missing, cannot be read or holds something else; the message says which file."""

    code = "key_file_unreadable"


def read_private(path: Path) -> str:
    """Return the text of a file that holds a key, stripped. Raises `Unreadable`, with the command that mends.

    A link is followed and the file at its end is judged: the very one that is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    except OSError:
        raise Unreadable(f"The key file {path} is missing or cannot be read.") from None
    with os.fdopen(descriptor, encoding="ascii") as file:
        _refuse_shared(path, os.fstat(descriptor))
        try:
            return file.read().strip()
        except (OSError, ValueError):
            raise Unreadable(f"The key file {path} is missing or cannot be read.") from None


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    quoted = shlex.quote(str(path))
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"The key file {path} is no file.")
    if status.st_uid not in {os.geteuid(), 0}:
        raise Unreadable(
            f"The key file {path} belongs to another user, who can read and replace it. Run: "
            f"chown {os.geteuid()} {quoted} && chmod 600 {quoted}"
        )
    if status.st_mode & 0o077:
        raise Unreadable(
            f"The key file {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}). "
            f"Run: chmod 600 {quoted}"
        )


class KeyFile:
    """One key of one purpose: `magic` at the beginning of the file tells it from the others."""

    def __init__(self, path: Path, magic: str) -> None:
        self.path, self.magic = path, magic

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> bytes:
        """Return its 32 bytes. Raises `Unreadable`."""
        text = read_private(self.path)
        try:
            key = bytes.fromhex(text.removeprefix(self.magic))
        except ValueError:
            raise Unreadable(f"The key file {self.path} is missing or cannot be read.") from None
        if not text.startswith(self.magic) or len(key) != envelope.KEY_BYTES:
            raise Unreadable(f"{self.path} is not the key file that belongs there.")
        return key

    def create(self) -> None:
        """Write a new key; never over an existing file (FileExistsError)."""
        self.keep(envelope.new_key())

    def keep(self, key: bytes) -> None:
        """Write this key; never over an existing file (FileExistsError)."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written apart and linked into place, so that half a key is never read.
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(self.magic + key.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, self.path)
        finally:
            draft.unlink()
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
