"""A root key whose bytes are in this process: what a file and a credential of systemd have in common.

Its bytes stay here and in the class that reads them.
"""

from __future__ import annotations

from secrets_app.crypto import envelope

MAGIC = "keyturn-root-key-1:"
BOUND = envelope.name("root key", "1")


class HeldRootKey:
    """Wraps by AES-256-GCM with the 256 bits that `_read` returns, and keeps them until `forget`."""

    def __init__(self) -> None:
        self._remembered: bytes | None = None

    def key_id(self) -> bytes:
        return envelope.key_id(self._read())

    def wrap(self, material: bytes) -> bytes:
        key = self._key()
        return envelope.seal(key, material, BOUND, key_name=envelope.key_id(key))

    def unwrap(self, wrapped: bytes) -> bytes:
        return envelope.open_(self._key(), wrapped, BOUND)

    def forget(self) -> None:
        self._remembered = None

    def _key(self) -> bytes:
        if self._remembered is None:
            self._remembered = self._read()
        return self._remembered

    def _read(self) -> bytes:
        """Return the key from its place. Raises `Unavailable`."""
        raise NotImplementedError
