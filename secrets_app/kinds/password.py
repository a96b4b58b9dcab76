"""A password: one text, which the secret's policy generates."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds.kind import Halves

ENTERED: Final = "password"
ALGORITHMS: Final[Mapping[str, str]] = MappingProxyType({})
HAS_POLICY: Final = True
HAS_PUBLIC_HALF: Final = False
ANSWERS_SUDO: Final = True


def read(text: Plaintext) -> Halves:
    """Return the password. Raises `passwords.Unfit`."""
    return {"password": passwords.check_value(text)}
