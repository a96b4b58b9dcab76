"""What the configuration of sshd (sshd -T) says about logins of one account. Makes no connection.

A wrong guess costs only a wrong sentence: a real login decides whether a credential works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rotation.connectors.base import Check
from rotation.connectors.ssh.findings import Findings, passed, unknown, warning

_SHELLS_THAT_RUN_NOTHING = ("nologin", "false", "true", "sync")
_DENIES = ("denyusers", "denygroups")
_ALLOWS = ("allowusers", "allowgroups")


def password_login(findings: Findings, username: str) -> bool:
    """Whether a login with a password gets to run a command."""
    return not _against_password(findings, username)


def password_check(findings: Findings, username: str) -> Check:
    """The line `password_login` of the checklist."""
    if not _is_known(findings):
        return unknown("password_login", "The instance's sshd did not tell its configuration.")
    if reason := _against_password(findings, username):
        return warning(
            "password_login",
            f"{reason} A new value is therefore proven by the instance's own check and not by a login.",
        )
    return passed("password_login", "sshd lets this account in with a password.")


def key_check(findings: Findings, username: str) -> Check:
    """The line `key_login` of the checklist."""
    if not _is_known(findings):
        return unknown("key_login", "The instance's sshd did not tell its configuration.")
    if reason := _against_anybody(findings, username):
        return warning("key_login", f"{reason} A login with the new key may be refused.")
    if reason := _against_commands(findings):
        return warning("key_login", f"{reason} A new key is therefore proven by the login alone.")
    if findings.first("sshd_served") == "no":
        return unknown(
            "key_login",
            "With which configuration the instance's sshd runs could not be seen; the usual one lets this "
            "account in with a key.",
        )
    return passed("key_login", "sshd lets this account in with a key.")


def is_root(findings: Findings, username: str) -> bool:
    """Whether sshd takes this account for root: it goes by the user id (auth.c, auth_root_allowed)."""
    return findings.first("uid") == "0" or username == "root"


def _is_known(findings: Findings) -> bool:
    return "sshd_passwordauthentication" in findings


def _against_password(findings: Findings, username: str) -> str:
    """Return why a login with a password cannot run a command, as a sentence; empty if it can."""
    methods = (findings.first("sshd_authenticationmethods") or "any").split()
    if (findings.first("sshd_passwordauthentication") or "yes") != "yes":
        return "sshd takes no passwords for this account (PasswordAuthentication)."
    if is_root(findings, username) and (findings.first("sshd_permitrootlogin") or "yes") != "yes":
        return "sshd lets an account with user id 0 in with no password (PermitRootLogin)."
    if not {"any", "password"} & set(methods):
        return "sshd asks this account for more than a password (AuthenticationMethods)."
    return _against_anybody(findings, username) or _against_commands(findings)


def _against_anybody(findings: Findings, username: str) -> str:
    """sshd_config(5): a user must be in no Deny list, and in each Allow list that there is."""
    if is_root(findings, username) and findings.first("sshd_permitrootlogin") == "no":
        return "sshd does not let an account with user id 0 in (PermitRootLogin no)."
    names = {"users": [username], "groups": findings.first("groups").split()}
    for key in _DENIES:
        if _matches(_patterns(findings, key), names[key[4:]]):
            return f"sshd's {key[:4].title()}{key[4:].title()} keeps this account out."
    for key in _ALLOWS:
        if f"sshd_{key}" in findings and not _matches(_patterns(findings, key), names[key[5:]]):
            return f"sshd's {key[:5].title()}{key[5:].title()} does not name this account."
    return ""


def _against_commands(findings: Findings) -> str:
    if (findings.first("sshd_forcecommand") or "none") != "none":
        return "sshd runs a command of its own for this account (ForceCommand)."
    if findings.first("no_shell") == "yes":
        shell = findings.shown("shell")
        return f"The account's shell, {shell}, is not there or is no program: sshd accepts no login then."
    if findings.first("shell").rpartition("/")[2] in _SHELLS_THAT_RUN_NOTHING:
        return f"The account's shell, {findings.shown('shell')}, runs no command."
    return ""


def _patterns(findings: Findings, key: str) -> list[str]:
    return [pattern for line in findings.every(f"sshd_{key}") for pattern in line.split()]


def _matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Whether a name fits one of sshd's patterns; the host part of USER@HOST is taken to fit."""
    expressions = [re.escape(p.partition("@")[0]).replace(r"\*", ".*").replace(r"\?", ".") for p in patterns]
    return any(re.fullmatch(e, name) for e in expressions for name in names)
