"""Add, remove and look for a public key on a host, through a root shell that is open already.

The files are edited as the account that they belong to; `ssh_scripts/keys.sh` says when root may do it.
"""

from __future__ import annotations

from rotation.connectors import ssh_scripts, words
from rotation.connectors.base import (
    Busy,
    Fence,
    Level,
    Proof,
    Refused,
    Stale,
    Unknown,
    Unreachable,
    Verdict,
)
from rotation.connectors.ssh_session import Deadline
from rotation.connectors.ssh_shell import Answer, RootShell, Silence

_ANSWER_SECONDS = 10.0
_SHORTEST_CHANGE = 5
# Words that a script may give; others are not believed.
_REFUSALS = words.KEY_PROBLEMS | {"foreign_console", "fence", "disk", "shell", "sudo"}


def check(username: str, *keys: str) -> None:
    """Return if these may be sent to a host. Raises `Refused`."""
    if not words.is_username(username):
        raise Refused(words.sentence("bad_user"), code="bad_user")
    if not all(map(words.is_public_key, keys)):
        raise Refused(words.sentence("bad_key_line"), code="bad_key_line")


def arguments(username: str, shell: RootShell) -> dict[str, str]:
    """What every script that knows about keys is given."""
    return {"user": username, "address": shell.client_address, "editor": ssh_scripts.load("key_file.sh")}


def edit(
    shell: RootShell, deadline: Deadline, username: str, action: str, key: str, like: str, fence: Fence
) -> None:
    """Have the host add or remove `key`; raises as `Connector.add_key` does."""
    seconds = min(ssh_scripts.HOST_SECONDS, int(deadline.left()) - 1)
    if seconds < _SHORTEST_CHANGE:
        raise Unreachable(words.sentence("no_answer"))
    given = arguments(username, shell) | {
        "console": fence.console_id,
        "generation": str(int(fence.generation)),
        "kind": "key",
        "action": action,
    }
    _expect_ready(shell.run("edit_key.sh", given, seconds=seconds))
    try:
        said = shell.commit(key.encode(), like.encode(), seconds=_ANSWER_SECONDS)
    except Silence:
        raise Unknown from None
    _expect_applied(said)


def probe(shell: RootShell, deadline: Deadline, username: str, key: str) -> Proof:
    """Ask the host for `key`, as `Connector.probe_key`."""
    said = shell.run("probe_key.sh", arguments(username, shell))
    if said.word == "READY":
        try:
            said = shell.commit(key.encode(), seconds=deadline.left())
        except Silence:
            return _unclear("no_answer")
    match said.word:
        case "ACCEPTED":
            return Proof(Verdict.ACCEPTED, Level.LISTED)
        case "REJECTED":
            return Proof(Verdict.REJECTED, Level.LISTED)
        case "UNCLEAR" if said.rest in words.KEY_PROBLEMS:
            return _unclear(said.rest)
        case _:
            return _unclear("script")


def _expect_ready(said: Answer) -> None:
    match said.word:
        case "READY":
            return
        case "STALE":
            raise Stale
        case "BUSY":
            raise Busy
        case _:
            raise _refusal(said)


def _expect_applied(said: Answer) -> None:
    match said.word:
        case "APPLIED":
            return
        case "ABORTED":
            raise Unreachable(words.sentence("late"), code="late")
        case "FAILED" if said.rest == "changed":
            raise Busy(words.sentence("changed"))
        case "FAILED" if said.rest in _REFUSALS:
            raise _refusal(said)
        case _:
            raise Unknown(words.sentence("unsure"))


def _refusal(said: Answer) -> Refused:
    code = said.rest if said.rest in _REFUSALS else "script"
    return Refused(words.sentence("not_root" if code == "sudo" else code), code=code)


def _unclear(word: str) -> Proof:
    return Proof(Verdict.UNCLEAR, reason=words.sentence(word))
