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

MAGIC = "keyturn-root-key-1:"
BOUND = envelope.name("root key", "1")


class FileRootKey:
    """A root key of 256 bits in its address's file, or ROOT_KEY_FILE: AES-256-GCM, its id in the header."""

    def __init__(self, address: Address) -> None:
        self._place = address.place
        self._remembered: bytes | None = None

    def __str__(self) -> str:
        return self._place or str(settings.ROOT_KEY_FILE)

    def key_id(self) -> bytes:
        return envelope.key_id(self._read())

    def wrap(self, material: bytes) -> bytes:
        key = self._key()
        return envelope.seal(key, material, BOUND, key_name=envelope.key_id(key))

    def unwrap(self, wrapped: bytes) -> bytes:
        return envelope.open_(self._key(), wrapped, BOUND)

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

    def forget(self) -> None:
        self._remembered = None

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

    def _key(self) -> bytes:
        if self._remembered is None:
            self._remembered = self._read()
        return self._remembered

    def _read(self) -> bytes:
        try:
            return self._file().read()
        except Unreadable as error:
            raise Unavailable(f"The root key cannot be used. {error}") from None

    def _file(self) -> KeyFile:
        return KeyFile(Path(self._place) if self._place else settings.ROOT_KEY_FILE, MAGIC)
