"""A key pair: a private key, and the public half that is derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds.kind import Halves

ENTERED: Final = "private key"
ALGORITHMS: Final[Mapping[str, str]] = key_pairs.ALGORITHMS
HAS_POLICY: Final = False
HAS_PUBLIC_HALF: Final = True
ANSWERS_SUDO: Final = False


def read(text: Plaintext) -> Halves:
    """Return both halves of a private key. Raises `key_pairs.Unreadable`."""
    pair = key_pairs.read(text)
    return {"public_key": pair.public_key, "private_key": pair.private_key}
