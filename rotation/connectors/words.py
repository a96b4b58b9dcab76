"""Which values may be sent to a host, and how its numbers and its way to root are worded.

Plain rules over text: nothing here opens a connection. The sentences of refusals stand in `reasons`.
"""

from __future__ import annotations

import re

from rotation.connectors.base import Sudo

#: Free space below which a host is taken for full.
LOW_KILOBYTES = 1024

_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{32,6000}={0,2}")
# useradd(8), with a capital allowed: a portable name that no shell and no option parser mistakes, and with a
# final $ as Samba's machine accounts have it.
_USERNAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_$-]?")
USERNAME_RULE = "An OS user has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."
_MAX_VALUE_BYTES = 511  # PAM_MAX_RESP_SIZE less its final NUL


def root_sentence(sudo: Sudo) -> str:
    """How the management account came to be root."""
    return {
        Sudo.NONE: "The management account is root.",
        Sudo.PASSWORDLESS: "The management account can run a root shell by sudo, which does not ask.",
        Sudo.PASSWORD: "The management account can run a root shell by sudo, with the stored password.",
    }[sudo]


def size(kilobytes: int) -> str:
    """A number of kilobytes as people read it."""
    if kilobytes < 10 * 1024:
        return f"{kilobytes} KB"
    if kilobytes < 10 * 1024 * 1024:
        return f"{kilobytes // 1024} MB"
    return f"{kilobytes // 1024 // 1024} GB"


def is_username(name: str) -> bool:
    """Whether this can be the name of a local account; anything else is never sent to a host."""
    return _USERNAME.fullmatch(name) is not None


def is_value(text: str) -> bool:
    """Whether this can be set as a password: a line break would end chpasswd's record and start another."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size_bytes <= _MAX_VALUE_BYTES and not any(c in text for c in "\r\n\0")


def is_public_key(text: str) -> bool:
    """Whether this is a key as a line of authorized_keys has it, with nothing before and nothing behind."""
    return _PUBLIC_KEY.fullmatch(text) is not None
