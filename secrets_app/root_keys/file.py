"""The root key in a file of its own, which only its owner may read (`key_files`).

Its bytes stay in this module. Without a path in its address, the file is the one that the settings name when
it is read.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile, Unreadable
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.root_keys import Unavailable, escrow
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.held import MAGIC, HeldRootKey


class FileRootKey(HeldRootKey):
    """A root key of 256 bits in its address's file, or ROOT_KEY_FILE: AES-256-GCM, its id in the header."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._place = address.place

    def __str__(self) -> str:
        return self._place or str(settings.ROOT_KEY_FILE)

    def make(self) -> bool:
        file = self._file()
        if file.exists():
            return False
        try:
            file.create()
        except FileExistsError:  # another process was first
            return False
        self.forget()
        return True

    def shares(self) -> list[Plaintext]:
        """Return the key in five shares (`escrow`). Raises `Unavailable`."""
        return escrow.split(self._read())

    def is_of(self, shares: Sequence[Plaintext]) -> bool:
        """Whether these three shares are this key. Raises `escrow.NotOneSet` or `Unavailable`."""
        return hmac.compare_digest(escrow.join(shares), self._read())

    def recover(self, shares: Sequence[Plaintext]) -> None:
        """Write the file from three shares, never over another. Raises `escrow.NotOneSet`, `Unavailable`."""
        key = escrow.join(shares)
        if len(key) != envelope.KEY_BYTES:
            raise escrow.NotOneSet("These are shares of something else than a root key.")
        try:
            self._file().keep(key)
        except FileExistsError:
            raise Unavailable(f"{self} is there already. Nothing was written.") from None
        self.forget()

    def _read(self) -> bytes:
        try:
            return self._file().read()
        except Unreadable as error:
            raise Unavailable(f"The root key cannot be used. {error}") from None

    def _file(self) -> KeyFile:
        return KeyFile(Path(self._place) if self._place else settings.ROOT_KEY_FILE, MAGIC)
