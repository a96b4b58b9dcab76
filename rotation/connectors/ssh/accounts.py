"""The lines of the preflight checklist about one account. Reads findings and makes no connection.

The checks run in an order in which each problem hides the ones after it: if the account does not exist, the
checklist says nothing about its password.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from rotation.connectors import words
from rotation.connectors.base import Check, Kind, Mark
from rotation.connectors.ssh import key_lines, reasons, rules
from rotation.connectors.ssh.findings import Findings, blocked, passed, unknown, warning

_DAYS_SHOWN = 365_000  # what /etc/shadow may hold beyond that is no date
_WEAK_HASHES = {
    "des": "DES, which reads eight characters of a password and no more.",
    "md5": "MD5, which is quick to try values against.",
    "bcrypt": "bcrypt, which reads 72 bytes of a password and no more.",
}
_HASHES = {"yescrypt": "yescrypt", "sha512": "SHA-512", "sha256": "SHA-256", "scrypt": "scrypt"}


@dataclass(frozen=True)
class Question:
    """What preflight is asked about."""

    username: str
    kind: Kind
    console_id: str
    allowed: frozenset[str]
    public_key: str = ""  # that the account has now


def checks(findings: Findings, question: Question, manager: str, address: str) -> Iterator[Check]:
    """Every line about the account, the ones for both kinds of credential around those for one."""
    yield from _states(findings, question)
    if question.username == manager:
        yield warning("own_account", reasons.sentence("own_account"), word="own_account")
    yield from _marks(findings, question)
    if question.kind == Kind.KEY:
        yield rules.key_check(findings, question.username)
        yield from _key_file(findings)
        yield from key_lines.checks(findings, address)
    else:
        yield rules.password_check(findings, question.username)
        yield from _password(findings)


def _states(findings: Findings, question: Question) -> Iterator[Check]:
    """What may be wrong with an account, up to the first thing that is."""
    known = reasons.KEY_PROBLEMS if question.kind == Kind.KEY else reasons.ACCOUNT_PROBLEMS
    problem = findings.first("problem")
    if problem and problem not in known:
        # A word that we do not know would be the script's mistake, not a reason to go on.
        yield blocked("script", name="account")
        return
    states = (
        ("account", {"no_such_user"}, f"It exists, with user id {findings.shown('uid')}."),
        (
            "local",
            {"not_local", "not_shadowed", "other_source"},
            "It is one of the instance's own (/etc/passwd, /etc/shadow), not a directory's.",
        ),
        ("locked", {"locked", "empty_password"}, _locked_sentence(findings, question.kind)),
        ("expired", {"expired", "inactive"}, _expiry_sentence(findings)),
        ("must_change", {"must_change", "must_change_first"}, _change_sentence(findings)),
    )
    for name, problems, sentence in states:
        if problem not in problems:
            yield passed(name, sentence)
        elif problem in question.allowed:
            yield warning(name, reasons.let_pass(problem), word=problem)
        else:
            yield blocked(problem, name=name)
            return


def _locked_sentence(findings: Findings, kind: Kind) -> str:
    if kind == Kind.KEY:
        return "A locked or empty password would be no hindrance for a key."
    return "It has a password that is not locked."


def _expiry_sentence(findings: Findings) -> str:
    day = _day(findings.number("expires"))
    return f"The account expires on {day}." if day else "The account does not expire."


def _change_sentence(findings: Findings) -> str:
    day = _day(findings.number("changed"))
    since = (
        f"The password was last changed on {day}" if day else "The instance keeps no date of the last change"
    )
    return f"{since}; nothing has to be changed at the next login."


def _day(number: int | None) -> str:
    if number is None or number > _DAYS_SHOWN:
        return ""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def _marks(findings: Findings, question: Question) -> Iterator[Check]:
    """What consoles have left on the host for this account."""
    if findings.first("foreign") != "yes":
        yield passed("foreign_console", "No other console has left its mark for this account.")
    elif "foreign_console" in question.allowed:
        yield warning("foreign_console", reasons.let_pass("foreign_console"), word="foreign_console")
    else:
        yield blocked("foreign_console")
    if not question.console_id:
        return
    generation = findings.number("generation")
    if generation is None:
        yield blocked("fence", name="generation")
    elif generation:
        yield passed("generation", f"The instance has seen attempt {generation} of this console.")
    else:
        yield passed("generation", "The instance has seen no attempt of this console yet.")


def _password(findings: Findings) -> Iterator[Check]:
    if findings.first("frozen"):
        sentence = reasons.sentence("immutable").format(findings.shown("frozen"))
        yield blocked("shadow_frozen", name="shadow_file", sentence=sentence)
    elif findings.first("mounted"):
        yield blocked("shadow_mount", name="shadow_file")
    else:
        yield passed("shadow_file", "/etc/shadow is not marked immutable.")
    method = findings.first("hash")
    if method in _WEAK_HASHES:
        yield warning("hash", f"The present password is hashed by {_WEAK_HASHES[method]}")
    elif method in _HASHES:
        yield passed("hash", f"The present password is hashed by {_HASHES[method]}.")
    else:
        yield unknown("hash", "The present password is hashed by a method that is not known here.")
    if findings.first("aged") == "yes":
        yield warning("aged", reasons.sentence("aged"))
    if least := findings.number("least"):
        yield passed(
            "min_age",
            f"The host wants {least} days between two changes; that binds a person's own, not this one.",
        )


def _key_file(findings: Findings) -> Iterator[Check]:
    answer = findings.first("keys")
    path = findings.shown("key_path")
    if findings.first("problem") and answer in ("", "done"):
        return
    if answer != "done":
        word = answer if answer in reasons.KEY_PROBLEMS else "script"
        sentence = reasons.sentence(word)
        yield blocked(word, name="key_file", sentence=f"{path}: {sentence}" if path else sentence)
        return
    if findings.first("frozen"):
        sentence = reasons.sentence("immutable").format(findings.shown("frozen"))
        yield blocked("unwritable", name="key_file", sentence=sentence)
        return
    look = findings.shown("key_look")
    owned = f" It has the mode and owner {look}." if look else " It is not there yet."
    yield passed("key_file", f"sshd reads {path}, and it can be edited.{owned}")
    yield _space(findings)
    yield _label(findings)


def _space(findings: Findings) -> Check:
    free = findings.number("free_keys")
    if free is None:
        return unknown("key_disk", "The free space where the key file lies could not be read.")
    if free < words.LOW_KILOBYTES:
        return blocked("disk", name="key_disk", sentence=reasons.sentence("key_disk"))
    return passed("key_disk", f"There is room for the key file: {words.size(free)} are free.")


def _label(findings: Findings) -> Check:
    mode = findings.first("selinux")
    if mode == "off":
        return passed("selinux", "SELinux is not in use.")
    if mode == "bare":
        return Check("selinux", Mark.WARNING, reasons.sentence("no_restorecon"))
    return passed("selinux", "SELinux is in use; restorecon puts the key file's label right.")
