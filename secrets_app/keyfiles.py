"""Keys that stand in files of their own: 32 bytes that only the owner of the file may read.

Writes a key once and never over another; keeps none in memory and knows no row.
"""

from __future__ import annotations

import os
from pathlib import Path

from secrets_app import envelope


class Unreadable(Exception):
    """The file is missing, cannot be read or holds something else; the message says which file."""


class KeyFile:
    """One key of one purpose: `magic` at the beginning of the file tells it from the others."""

    def __init__(self, path: Path, magic: str) -> None:
        self.path, self.magic = path, magic

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> bytes:
        """Return its 32 bytes. Raises `Unreadable`."""
        try:
            text = self.path.read_text(encoding="ascii").strip()
            key = bytes.fromhex(text.removeprefix(self.magic))
        except (OSError, ValueError):
            raise Unreadable(f"The key file {self.path} is missing or cannot be read.") from None
        if not text.startswith(self.magic) or len(key) != envelope.KEY_BYTES:
            raise Unreadable(f"{self.path} is not the key file that belongs there.")
        return key

    def create(self) -> None:
        """Write a new key; never over an existing file (FileExistsError)."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written apart and linked into place: nobody ever reads half a key.
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(self.magic + envelope.new_key().hex() + "\n")
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
