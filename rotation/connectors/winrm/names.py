"""Which account names and values may be sent to a Windows host.

Plain rules over text. Local accounts: [MS-SAMR] 3.1.1.6, and the characters that a local user may not have
(`New-LocalUser`). Passwords: at most 127 characters, the limit of the logon screen.
"""

from __future__ import annotations

import re

from rotation.connectors import words
from rotation.connectors.base import Refused
from rotation.connectors.winrm import reasons
from secrets_app.crypto.plaintext import Plaintext

USERNAME_RULE = (
    "A local Windows account has 1 to 20 letters, digits and _ . - characters, begins with a letter, a digit "
    "or _, does not end in a dot, and is not digits alone."
)
# Narrower than Windows: no blank, nothing that ADSI, WMI or a path gives a meaning to, and no final dot.
_ACCOUNT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,18}[A-Za-z0-9_-])?")
_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?"
_MANAGER = re.compile(rf"(?:{_DOMAIN}\\)?[A-Za-z0-9_][A-Za-z0-9_.-]{{0,63}}|[A-Za-z0-9_.-]{{1,64}}@{_DOMAIN}")
_DOMAIN_MANAGER = re.compile(rf"[A-Za-z0-9_.-]{{1,64}}@{_DOMAIN}")
_MOST_CHARACTERS = 127
#: Complexity asks for three of the classes upper case, lower case, digits, symbols and other letters.
LEAST_SETS = 3
#: The kinds of what runs as an account and keeps its password.
DEPENDANTS = ("service", "task", "pool")
_CONSOLE = re.compile(r"[0-9a-fA-F-]{1,36}")


def is_username(name: str) -> bool:
    """Whether this can be the name of a local account; anything else is never sent to a host."""
    return _ACCOUNT.fullmatch(name) is not None and not name.isdigit()


def account_problem(name: str) -> str:
    """Return what keeps Keyturn from working as an account of this name; empty if nothing does."""
    if _MANAGER.fullmatch(name):
        return ""
    return (
        "The account name is user, HOST\\user, DOMAIN\\user or user@domain, with letters, digits, and . _ - "
        "only."
    )


def domain_account_problem(name: str) -> str:
    """Return what keeps an account of this name from logging in by Kerberos; empty if nothing does."""
    if _DOMAIN_MANAGER.fullmatch(name):
        return ""
    return (
        "By Kerberos the account is one of a domain, user@REALM, with letters, digits, and . _ - only. The "
        "realm is the domain's DNS name, as in keyturn@CORP.EXAMPLE.COM."
    )


def is_dependant(kind: str, name: str) -> bool:
    """Whether this can name a service, a task or an application pool that a host has listed."""
    return kind in DEPENDANTS and 0 < len(name) <= 300 and name.isprintable()


def is_value(text: str) -> bool:
    """Whether this can be set as a password."""
    return words.is_value(text) and len(text.encode("utf-16-le")) // 2 <= _MOST_CHARACTERS


def check(username: str, value: Plaintext | None = None) -> None:
    """Return if these may be sent to a host. Raises `Refused`."""
    if not is_username(username):
        raise Refused(reasons.BAD_USER, code="bad_user")
    if value is not None and not is_value(value.reveal()):
        raise Refused(reasons.BAD_VALUE, code="bad_value")


def check_console(console_id: str) -> str:
    """Return the id if it can be the name of a key in the registry. Raises `ValueError`."""
    if not _CONSOLE.fullmatch(console_id):
        raise ValueError("not the id of a console")
    return console_id
