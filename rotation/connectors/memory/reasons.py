"""What a simulated host says of itself: the reasons of every wire, and a few as a real host has them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rotation.connectors import reasons

#: Codes that a wire's own table has a row for; the simulation stands for any of these wires.
OWN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad_key": "The private key cannot be read.",
        "bad_key_line": "The public key is not one line of a type and its base64.",
        "expired": "The account has expired.",
        "forced_command": "The management account runs one fixed command and no other.",
        "must_change_first": "The account must change its password before a key lets it in.",
        "no_checker": "The instance has no check of passwords of its own.",
        "sudo": "The management account cannot become root.",
        "sudo_password": "The stored password is not the one that becomes root.",
        "truncates": "The instance reads only the first characters of a password, so a part of it would do.",
    }
)


def sentence(code: str) -> str:
    """What to show for a reason: a code that only a real host has can be armed too, and says no more."""
    if code in reasons.COMMON:
        return reasons.sentence(code)
    return OWN.get(code, "The instance does not make this change.")
