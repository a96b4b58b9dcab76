"""How wrapped material looks that a root key outside this process has wrapped.

Layout, in bytes: magic "KT" | format 1 | provider 2 to 5 | what the provider made. A file's own begins with 1
and is `envelope`'s. The provider's mark is no secret and no proof: what it says is only whom to ask.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from secrets_app.crypto import envelope

_MAGIC: Final = b"KT\x01"
AT_MOST_BYTES: Final = 1024


class Provider(IntEnum):
    """Who wrapped it. A number is never given to another one."""

    PKCS11 = 2
    TRANSIT = 3
    AWS = 4
    ALIBABA = 5


def pack(provider: Provider, body: bytes) -> bytes:
    """Return `body` with the provider's mark before it."""
    return _MAGIC + bytes([provider]) + body


def unpack(provider: Provider, wrapped: bytes) -> bytes:
    """Return what `pack` was given. Raises `envelope.Tampered` for another provider's or a changed mark."""
    if not wrapped.startswith(_MAGIC + bytes([provider])):
        raise envelope.Tampered("Another root key provider wrapped this.")
    return wrapped[len(_MAGIC) + 1 :]
