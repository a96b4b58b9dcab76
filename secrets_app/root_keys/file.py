"""The root key in a file of its own, which only its owner may read (`key_files`).

Its bytes stay in this module. The file is the one that the settings name when it is read.
"""

from __future__ import annotations

from django.conf import settings

from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile, Unreadable
from secrets_app.root_keys import Unavailable

MAGIC = "keyturn-root-key-1:"
_BOUND = envelope.name("root key", "1")


class FileRootKey:
    """A root key of 256 bits in ROOT_KEY_FILE: AES-256-GCM, with the key id in the header."""

    def __init__(self) -> None:
        self._remembered: bytes | None = None

    def __str__(self) -> str:
        return str(settings.ROOT_KEY_FILE)

    def key_id(self) -> bytes:
        return envelope.key_id(self._read())

    def wrap(self, material: bytes) -> bytes:
        key = self._key()
        return envelope.seal(key, material, _BOUND, key_name=envelope.key_id(key))

    def unwrap(self, wrapped: bytes) -> bytes:
        return envelope.open_(self._key(), wrapped, _BOUND)

    def make(self) -> bool:
        file = self._file()
        if file.exists():
            return False
        file.create()
        self.forget()
        return True

    def forget(self) -> None:
        self._remembered = None

    def _key(self) -> bytes:
        if self._remembered is None:
            self._remembered = self._read()
        return self._remembered

    def _read(self) -> bytes:
        try:
            return self._file().read()
        except Unreadable as error:
            raise Unavailable(f"The root key cannot be used. {error}") from None

    @staticmethod
    def _file() -> KeyFile:
        return KeyFile(settings.ROOT_KEY_FILE, MAGIC)
