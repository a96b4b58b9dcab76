"""Ask a host for the facts that a rotation needs, and turn the answers into a checklist.

The checklist follows the order of a rotation: the way in, the host, the account. Each answer of the host
decides a single line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rotation.connectors import words
from rotation.connectors.base import (
    Check,
    ConnectorError,
    Facts,
    HostKeyChanged,
    Kind,
    LoginRefused,
    Manager,
    Refused,
    Unreachable,
)
from rotation.connectors.ssh import accounts, answers, key_files, reasons, rules
from rotation.connectors.ssh.accounts import Question
from rotation.connectors.ssh.findings import Findings, blocked, passed, unknown, warning
from rotation.connectors.ssh.shell import RootShell


def look(
    shell: RootShell, manager: Manager, question: Question, before: Iterable[Check]
) -> tuple[Facts, key_files.Later | None]:
    """Run the script that only reads; `before` are the checks that were passed on the way to it.

    Returns what was found, and what a change of the account's keys needs not ask again.
    """
    username = manager.login.username
    given = key_files.arguments(question.username, shell, question.kind) | {
        "console": question.console_id,
        "manager": username,
        "held": question.public_key,
    }
    findings = answers.look(shell, "preflight.sh", given)
    shell.sudo_log = findings.first("sudo_log")
    checks = [*before, *_host_checks(findings, question.kind)]
    if question.username:
        about = accounts.checks(findings, question, username, shell.client_address)
        checks += [replace(check, of_account=True) for check in about]
    facts = Facts(
        checks=tuple(checks),
        generation=findings.number("generation") or 0,
        machine_id=findings.first("machine_id")[:64],
        os_name=findings.first("os_name")[:128],
        accounts=tuple(a for a in findings.every("account")[:100] if words.is_username(a)),
        password_login=not question.username or rules.password_login(findings, question.username),
        fenced=findings.first("fenced") == "yes",
        is_slow=findings.first("slow") == "yes",
    )
    return facts, key_files.later(shell, question.username, findings)


def failed(error: ConnectorError) -> Check:
    """The line for the reason why the host could not be examined."""
    name = "command"
    match error:
        case Unreachable():
            name = "reachable"
        case HostKeyChanged():
            name = "host_key"
        case LoginRefused():
            name = "login"
        case Refused(code="sudo" | "sudo_code" | "sudo_failed" | "sudo_noexec"):
            name = "sudo"
    return blocked(error.code, name=name, sentence=str(error))


def _host_checks(findings: Findings, kind: Kind) -> Iterator[Check]:
    etc, mark = findings.number("free_etc") or 0, findings.number("free_fence") or 0
    if min(etc, mark) < words.LOW_KILOBYTES:
        yield blocked("disk")
    else:
        yield passed("disk", f"There is room: /etc has {words.size(etc)} free, /var/lib {words.size(mark)}.")
    if kind == Kind.PASSWORD:
        if findings.first("chpasswd") == "yes":
            yield passed("chpasswd", "The instance has chpasswd.")
        else:
            yield blocked("no_chpasswd", name="chpasswd")
    if "sudo_log" in findings:  # not of a key pair, of which nothing is sent that may not be written down
        yield _sudo_log(findings.first("sudo_log"), kind if findings.first("shell") else Kind.KEY)
    if findings.first("fenced") == "yes":
        yield passed(
            "fence", "The instance has flock and timeout: one change at a time, and none that is late."
        )
    else:
        yield warning("fence", reasons.sentence("unfenced"), word="unfenced")


def _sudo_log(answer: str, kind: Kind) -> Check:
    match answer:
        case "yes" if kind == Kind.PASSWORD:
            return blocked("sudo_log")
        case "yes":  # a public key may be written down, and so far nothing is sent
            return warning("sudo_log", reasons.sentence("sudo_log"))
        case "no":
            return passed("sudo_log", "sudo does not record what it reads.")
        case "none":
            return passed("sudo_log", "There is no sudo on the instance that could record anything.")
        case _:
            return unknown("sudo_log", "sudo did not tell whether it records what it reads.")
