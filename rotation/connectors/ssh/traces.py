"""Read an account's traces and end its sessions, through a root shell that is open already."""

from __future__ import annotations

import re

from rotation.connectors.base import Kind, Refused, Traces
from rotation.connectors.reasons import Heard
from rotation.connectors.ssh import answers, key_files, reasons
from rotation.connectors.ssh.shell import RootShell

_MARK = re.compile(r"[0-9a-f]{64}")
_PROBLEMS = reasons.heard(Heard.ACCOUNT | Heard.KEYS)
_REFUSALS = reasons.heard(Heard.ANY | Heard.ACCOUNT)


def read(shell: RootShell, username: str, kind: Kind, console_id: str) -> Traces:
    """As `Connector.trace`; the hash of a password leaves the host only as the hash of a hash."""
    given = key_files.arguments(username, shell, kind) | {"console": console_id}
    findings = answers.look(shell, "trace.sh", given)
    problem = findings.first("problem")
    mark = findings.first("mark")
    return Traces(
        mark=mark if _MARK.fullmatch(mark) else "",
        changed_on=findings.number("changed"),
        generation=findings.number("generation") or 0,
        problem=problem if problem in _PROBLEMS or not problem else "script",
    )


def end_sessions(shell: RootShell, username: str) -> int:
    """As `Connector.end_sessions`."""
    said = shell.run("end_sessions.sh", {"user": username})
    if said.word == "ENDED" and re.fullmatch(r"[0-9]{1,6}", said.rest):
        return int(said.rest)
    if said.word == "FAILED":
        raise Refused(reasons.sentence("sessions_left"), code="sessions_left")
    raise answers.refusal(said, _REFUSALS)
