"""The sentences for what a host refuses, by the word that names the reason.

One list for every connector, so that a checklist, an error and a run's page say the same. Each says what
was found and what to do next. A word that is not here is a bug.
"""

from __future__ import annotations

import re

_SENTENCES = {
    "accepts_anything": "The host accepts a random wrong password too, so its answers prove nothing.",
    "aged": "The password is older than the host allows; a rotation renews it.",
    "bad_key": "The private key is not an unencrypted Ed25519, ECDSA or RSA key.",
    "bad_user": "The account name is not a portable POSIX name of at most 32 characters.",
    "bad_value": "The password is empty, longer than 511 bytes, or holds a line break or NUL.",
    "broken_login": "The connection ended instead of an answer to the login; the account may be expired.",
    "checker_failed": "The host's own password check failed without a verdict.",
    "disk": "/etc or /var/lib on the host is full or read-only. Free some space there.",
    "empty_password": "The account has an empty password, so that any value would seem right. Set one first.",
    "expired": "The account has expired. Extend it with chage -E; a rotation does not.",
    "fence": "The generation mark on the host holds no number. Look at /var/lib/keyturn there.",
    "forced_command": "The host runs another command in place of ours (a forced command, or a shell that "
    "runs none).",
    "foreign_console": "Another console manages this account. Remove its mark in /var/lib/keyturn on "
    "the host once it no longer does.",
    "late": "The host took too long, and dropped the change before it was applied.",
    "locked": "The account has no usable password (locked, or key only). Setting one would unlock it.",
    "manager_must_change": "The management account must change its own password before it may run a command.",
    "login_only": "The login works; the account runs no command there.",
    "more_wanted": "The host took the credential and asks for a second factor.",
    "must_change": "The account must change its password at the next login; a rotation would clear "
    "that flag.",
    "no_answer": "The connection ended, or the host did not answer in time.",
    "no_checker": "The host has no unix_chkpwd, so a password can only be tried by a login.",
    "no_chpasswd": "The host has no chpasswd.",
    "no_credential": "The management credential holds neither a password nor a private key.",
    "no_such_user": "There is no such account on the host.",
    "no_sudo": "sudo is not installed on the host, and the management account is not root.",
    "not_local": "The account comes from a directory and not from the host's own files.",
    "not_root": "The management account is not root, and no sudo is set for it.",
    "not_offered": "The host does not accept this kind of credential for this account.",
    "policy": "The host's password rules rejected the value.",
    "script": "The shell on the host stopped before it answered.",
    "shell": "The host's sh has no printf of its own, so a value could be seen in the list of processes.",
    "sudo": "sudo asks for a password and none is stored. Store it, or allow the account all commands "
    "with NOPASSWD.",
    "sudo_not_allowed": "The sudoers file does not let the management account run a root shell.",
    "sudo_password": "The stored sudo password is wrong, or sudo refused it.",
    "sudo_terminal": "sudo wants a terminal (requiretty). Exempt the management account from it.",
    "timeout": "The host's password program did not end in time; it was stopped and nothing has changed.",
    "too_long_to_check": "The host's own check may not read a value of this length whole.",
    "unsure": "The host is not sure whether the change was applied.",
    "weak_ssh": "The host offers no SSH algorithms that are still safe (OpenSSH 7.2 or newer has them).",
}

#: What may be wrong with an account, so that its password is not changed.
ACCOUNT_PROBLEMS = frozenset(
    ("no_such_user", "not_local", "empty_password", "locked", "expired", "must_change")
)

# POSIX's portable characters, no leading hyphen or dot, and a final $ as Samba's machine accounts have it.
_USERNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,31}|[A-Za-z0-9_.-]{0,30}\$)")
_MAX_VALUE_BYTES = 511  # PAM_MAX_RESP_SIZE less its final NUL


def sentence(word: str) -> str:
    """What to show for a reason. Raises `KeyError` for a word that has none."""
    return _SENTENCES[word]


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
