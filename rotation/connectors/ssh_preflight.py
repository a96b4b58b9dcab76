"""Turn what the preflight script found into a checklist; reads text, talks to nobody.

Everything that comes from the host is capped and stripped of what cannot be printed. None of it decides
more than a line of the checklist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rotation.connectors import words
from rotation.connectors.base import Check, Facts, Kind, Mark

_SHELLS_THAT_RUN_NOTHING = ("nologin", "false", "true", "sync")
_LOW_KILOBYTES = 1024


class Findings:
    """Facts as key and value, from the host: `put` for each, then `facts()`."""

    def __init__(self, username: str, kind: Kind = Kind.PASSWORD) -> None:
        self._username = username
        self._kind = kind
        self._found: dict[str, list[str]] = {}

    def put(self, line: str) -> None:
        """Take one `key=value`; a line without a key is dropped."""
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[a-z_]{1,40}", key):
            self._found.setdefault(key, []).append("".join(c for c in value[:256] if c.isprintable()))

    def _one(self, key: str) -> str:
        return self._found.get(key, [""])[0]

    def _number(self, key: str) -> int | None:
        text = self._one(key)
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

    def facts(self, before: Iterable[Check]) -> Facts:
        """Everything together; `before` are the checks that were passed on the way to the script."""
        checks = [*before, *self._host_checks()]
        if self._username:
            checks += self._key_checks() if self._kind == Kind.KEY else self._account_checks()
        return Facts(
            checks=tuple(checks),
            generation=self._number("generation") or 0,
            machine_id=self._one("machine_id")[:64],
            os_name=self._one("os_name")[:128],
            accounts=tuple(a for a in self._found.get("account", [])[:100] if words.is_username(a)),
            password_login=not self._username or self._password_login(),
            fenced=self._one("fenced") == "yes",
        )

    def _host_checks(self) -> Iterable[Check]:
        if min(self._number("free_etc") or 0, self._number("free_fence") or 0) < _LOW_KILOBYTES:
            yield blocked("disk")
        else:
            yield passed("disk", "There is room on the host for the change.")
        if self._kind == Kind.PASSWORD and self._one("chpasswd") != "yes":
            yield blocked("no_chpasswd")
        if self._one("sudo_log") == "yes":
            yield Check(
                "sudo_log",
                Mark.WARNING,
                "sudo records what it reads, new passwords included. Exempt the management account: "
                "Defaults:NAME !log_input",
            )
        if self._one("fenced") != "yes":
            yield Check(
                "fence",
                Mark.WARNING,
                "The host lacks flock or timeout, so a late change cannot be kept out there.",
            )

    def _account_checks(self) -> Iterable[Check]:
        problem = self._one("problem")
        if problem:
            # A word that we do not know would be the script's mistake, not a reason to go on.
            yield blocked(problem if problem in words.ACCOUNT_PROBLEMS else "script")
        else:
            yield passed("account", "The account exists, is local, and has a password.")
            yield passed("usable", "The account is neither locked nor expired.")
        if self._one("foreign") == "yes":
            yield blocked("foreign_console")
        if self._one("aged") == "yes":
            yield Check("aged", Mark.WARNING, words.sentence("aged"))
        yield self._login_check()

    def _key_checks(self) -> Iterable[Check]:
        """A locked or empty password is no reason here: it stands in the way of passwords only."""
        problem = self._one("problem")
        if problem:
            yield blocked(problem if problem in words.KEY_PROBLEMS else "script")
        else:
            yield passed(
                "account", "The account exists, is local, and is neither locked for keys nor expired."
            )
        if self._one("foreign") == "yes":
            yield blocked("foreign_console")
        keys = self._one("keys")
        if keys == "done":
            yield passed("key_file", "The account's key file can be edited, and sshd reads it.")
        elif not problem:
            yield blocked(keys if keys in words.KEY_PROBLEMS else "script", name="key_file")

    def _login_check(self) -> Check:
        if not any(key.startswith("sshd_") for key in self._found):
            return Check("password_login", Mark.UNKNOWN, "The host's sshd did not tell its configuration.")
        if self._password_login():
            return passed("password_login", "sshd lets this account in with a password.")
        return Check(
            "password_login",
            Mark.WARNING,
            "sshd or the account's shell allows no password login, so a new value is proven by the "
            "host's own check and not by a login.",
        )

    def _password_login(self) -> bool:
        """Whether a login with a password gets to run a command, as far as sshd's own words go."""
        shell = self._one("shell").rpartition("/")[2]
        methods = self._one("sshd_authenticationmethods") or "any"
        return (
            shell not in _SHELLS_THAT_RUN_NOTHING
            and (self._one("sshd_passwordauthentication") or "yes") == "yes"
            and (self._username != "root" or (self._one("sshd_permitrootlogin") or "yes") == "yes")
            and (self._one("sshd_forcecommand") or "none") == "none"
            and bool({"any", "password"} & set(methods.split()))
            and self._listed()
        )

    def _listed(self) -> bool:
        """sshd_config(5): a user must be in no Deny list, and in each Allow list that there is."""
        groups = self._one("groups").split()
        user = [self._username]
        return (
            not _matches(self._patterns("sshd_denyusers"), user)
            and not _matches(self._patterns("sshd_denygroups"), groups)
            and ("sshd_allowusers" not in self._found or _matches(self._patterns("sshd_allowusers"), user))
            and (
                "sshd_allowgroups" not in self._found or _matches(self._patterns("sshd_allowgroups"), groups)
            )
        )

    def _patterns(self, key: str) -> list[str]:
        return [pattern for line in self._found.get(key, []) for pattern in line.split()]


_CHECK_NAMES = {
    "no_such_user": "account",
    "not_local": "local",
    "empty_password": "locked",
    "no_chpasswd": "chpasswd",
}


def _matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Whether a name fits one of sshd's patterns; the host part of USER@HOST is taken to fit."""
    expressions = [re.escape(p.partition("@")[0]).replace(r"\*", ".*").replace(r"\?", ".") for p in patterns]
    return any(re.fullmatch(e, name) for e in expressions for name in names)


def passed(name: str, sentence: str) -> Check:
    """A line of the checklist that is in order."""
    return Check(name, Mark.PASSED, sentence)


def blocked(word: str, *, name: str = "", sentence: str = "") -> Check:
    """A line that forbids a rotation, for the reason that this word names."""
    return Check(
        name or _CHECK_NAMES.get(word, word), Mark.BLOCKED, sentence or words.sentence(word), code=word
    )
