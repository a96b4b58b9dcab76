"""Add, remove and look for a public key on a host, through a root shell that is open already.

The files are edited as the account that they belong to; `scripts/keys.sh` says when root may do it.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection
from dataclasses import dataclass, replace

import paramiko

from rotation.connectors import words
from rotation.connectors.base import ConnectorError, Fence, Kind, Level, Proof, Refused, Verdict
from rotation.connectors.dialling import Deadline
from rotation.connectors.reasons import Heard
from rotation.connectors.ssh import answers, key_lines, reasons
from rotation.connectors.ssh import scripts as ssh_scripts
from rotation.connectors.ssh.answers import unclear
from rotation.connectors.ssh.findings import Findings
from rotation.connectors.ssh.shell import RootShell, Silence

#: Seconds for which a change goes by what the daemon said in the look before it.
_LATER_SECONDS = 30.0
_ASKS_AGAIN = {"later_sshd": "", "later_files": "", "later_setpriv": ""}
# Words that a script may give; others are not believed.
_REFUSALS = reasons.heard(Heard.ANY | Heard.KEYS)


def check(username: str, *keys: str) -> None:
    """Return if these may be sent to a host. Raises `Refused`."""
    if not words.is_username(username):
        raise Refused(reasons.sentence("bad_user"), code="bad_user")
    if not all(map(words.is_public_key, keys)):
        raise Refused(reasons.sentence("bad_key_line"), code="bad_key_line")


def arguments(username: str, shell: RootShell, kind: Kind = Kind.KEY) -> dict[str, str]:
    """What every script is given that asks sshd about an account or knows about its keys."""
    return {
        "user": username,
        "kind": kind.value,
        "address": shell.client_address,
        "here": shell.host_place,
        **({"editor": ssh_scripts.load("key_file.sh")} if kind == Kind.KEY else {}),
    }


@dataclass(frozen=True)
class Later:
    """What a look has told that changes of an account's keys go by, after it on the same connection."""

    connection: weakref.ref[paramiko.Transport]
    username: str
    told_at: float  # of the monotonic clock
    sshd: str
    files: str
    setpriv: str  # yes where setpriv(1) has just become the account there

    def arguments(self, shell: RootShell, username: str) -> dict[str, str]:
        """What a change is given of it: nothing if it is of another connection or account, or old."""
        is_fresh = time.monotonic() - self.told_at <= _LATER_SECONDS
        if not is_fresh or username != self.username or self.connection() is not shell.transport:
            return _ASKS_AGAIN
        return {"later_sshd": self.sshd, "later_files": self.files, "later_setpriv": self.setpriv}


def later(shell: RootShell, username: str, findings: Findings) -> Later | None:
    """What the look has told for the changes after it; None if it did not tell all."""
    sshd, files = findings.every("later_sshd"), findings.every("later_file")
    if not (sshd and files) or findings.number("later") != len(sshd) + len(files):
        return None
    text = "".join(f"{line}\n" for line in sshd)
    setpriv = findings.first("later_setpriv")
    return Later(weakref.ref(shell.transport), username, time.monotonic(), text, "\n".join(files), setpriv)


def edit(
    shell: RootShell,
    deadline: Deadline,
    username: str,
    action: str,
    key: str,
    like: str,
    fence: Fence,
    allowed: Collection[str] = (),
    told: Later | None = None,
) -> None:
    """Have the host add or remove `key`; raises as `Connector.add_key` does."""
    known = told.arguments(shell, username) if told else _ASKS_AGAIN
    given = (
        arguments(username, shell)
        | known
        | {
            "console": fence.console_id,
            "generation": str(int(fence.generation)),
            "action": action,
            "asked_key": key,
            "asked_like": like,
            "allowed": answers.allowed_words(allowed),
        }
    )
    answers.change(shell, deadline, "edit_key.sh", given, believed=_REFUSALS)


def probe(shell: RootShell, deadline: Deadline, username: str, key: str) -> Proof:
    """Ask the host for `key`, as `Connector.probe_key`. Raises `Refused` where no root shell is to be had."""
    findings = Findings()
    said = shell.run("probe_key.sh", arguments(username, shell))
    if said.word == "READY":
        try:
            said = shell.commit(key.encode(), seconds=deadline.left())
            while said.word == "FACT":
                findings.put(said.rest)
                said = shell.next()
        except (Silence, ConnectorError):
            return unclear("no_answer")
    match said.word:
        case "ACCEPTED" if code := key_lines.closed(findings, shell.client_address):
            return replace(unclear(code), level=Level.LISTED)
        case "ACCEPTED":
            return Proof(Verdict.ACCEPTED, Level.LISTED)
        case "REJECTED":
            return Proof(Verdict.REJECTED, Level.LISTED)
        case "UNCLEAR" if said.rest in reasons.KEY_PROBLEMS:
            return unclear(said.rest)
        case "REFUSED":
            raise answers.refusal(said, _REFUSALS)
        case _:
            return unclear("script")
