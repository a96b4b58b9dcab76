"""Seal and open bytes under a key, bound to a name.

AES-256-GCM from `cryptography`, a random 96-bit nonce each time. What is sealed opens only under
the same key *and* the same name: a ciphertext moved to another row does not open.

Layout of a sealed value, in bytes:

    magic "KT" | format 1 | algorithm 1 | key id 16 | nonce 12 | ciphertext | tag 16

The first twenty bytes stand in the associated data too, before the name, so that no bit of the
header can change unnoticed. Knows no key by number and no row: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import os
import uuid

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secrets_app.errors import DomainError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
HEADER = b"KT\x01\x01"
HEADER_BYTES = len(HEADER) + 16
NO_KEY_ID = bytes(16)


class Tampered(DomainError):
    """These bytes were not sealed under this key and this name, or were changed since."""

    code = "tampered"


def new_key() -> bytes:
    """Return 32 bytes from the operating system's generator."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> bytes:
    """Return 16 bytes that tell one key from another and say nothing of either."""
    return hashlib.sha256(b"keyturn key id\x00" + key).digest()[:16]


def name(*parts: str | uuid.UUID) -> bytes:
    """Encode `parts` so that no two different lists give the same bytes: each with its length before it."""
    encoded = [part.bytes if isinstance(part, uuid.UUID) else part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def seal(key: bytes, plaintext: bytes, bound_to: bytes, *, key_name: bytes = NO_KEY_ID) -> bytes:
    """Encrypt `plaintext` under `key`, bound to `bound_to` (see `name`).

    `key_name` is 16 bytes that say in the header which key it was. Raises ValueError for a key that
    is not 32 bytes long.
    """
    header = HEADER + key_name
    if len(key) != KEY_BYTES or len(header) != HEADER_BYTES:
        raise ValueError("A key has 32 bytes and a key id 16.")
    nonce = os.urandom(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + bound_to)


def open_(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """Return what was sealed. Raises `Tampered` for a wrong key, a wrong name or one changed bit."""
    header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    body = sealed[HEADER_BYTES + NONCE_BYTES :]
    if len(body) < TAG_BYTES or not header.startswith(HEADER):
        raise Tampered("This is not a value that Keyturn sealed.")
    try:
        return AESGCM(key).decrypt(nonce, body, header + bound_to)
    except InvalidTag:
        raise Tampered("This value does not open: wrong key, wrong row, or changed bytes.") from None


def key_name(sealed: bytes) -> bytes:
    """Return the 16 bytes of the header that say under which key this was sealed."""
    return sealed[len(HEADER) : HEADER_BYTES]
