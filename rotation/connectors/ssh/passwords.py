"""Set and try a password on a host, through a root shell that is open already."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Collection
from dataclasses import replace

from rotation.connectors import words
from rotation.connectors.base import Fence, Level, Proof, Refused, Verdict
from rotation.connectors.dialling import Deadline
from rotation.connectors.reasons import Heard
from rotation.connectors.ssh import answers, reasons
from rotation.connectors.ssh.answers import unclear
from rotation.connectors.ssh.scripts import HOST_SECONDS
from rotation.connectors.ssh.shell import Answer, RootShell, Silence
from secrets_app.crypto.plaintext import Plaintext

# Words that a script may give; others are not believed.
_REFUSALS = reasons.heard(Heard.ANY | Heard.ACCOUNT | Heard.CHANGE) | {"accepts_anything"}
_UNCLEAR = reasons.heard(Heard.ACCOUNT | Heard.PROBE)
_STANDING = re.compile(r"[0-9a-f]{64}")
# Before pam 1.4, unix_chkpwd read at most 200 bytes with the final NUL and judged what it had.
_SURELY_CHECKED_BYTES = 199
#: Seconds for chpasswd, and as many more where a hash is made to be slow.
_HASH_SECONDS, _SLOW_SECONDS = 3, 9


def check(username: str, new: Plaintext) -> None:
    """Return if these may be sent to a host. Raises `Refused`."""
    if not words.is_username(username):
        raise Refused(reasons.sentence("bad_user"), code="bad_user")
    if not words.is_value(new.reveal()):
        raise Refused(reasons.sentence("bad_value"), code="bad_value")


def change(
    shell: RootShell,
    deadline: Deadline,
    username: str,
    new: Plaintext,
    fence: Fence,
    allowed: Collection[str],
    controlled: str = "",
    *,
    login_follows: bool = False,
    is_slow: bool = False,
) -> Proof | None:
    """Have the host set `new`; returns and raises as `Connector.set_password` does.

    `is_slow` says that the host may take seconds to make a hash.
    """
    longer = min(_SLOW_SECONDS, max(0, int(deadline.left()) - 1 - HOST_SECONDS)) if is_slow else 0
    given = {
        "user": username,
        "console": fence.console_id,
        "generation": str(int(fence.generation)),
        "allowed": answers.allowed_words(allowed),
        "hash_seconds": str(_HASH_SECONDS + longer),
        "controlled": controlled if _STANDING.fullmatch(controlled) else "",
        "login_follows": "yes" if login_follows else "",
        # Whether a session is recorded is settled when sudo begins it, and this shell is that session.
        "recorded_here": "no" if shell.sudo_log in {"no", "none"} else "",
    }
    said = answers.change(
        shell,
        deadline,
        "set_password.sh",
        given,
        new.encode(),
        believed=_REFUSALS,
        host_seconds=HOST_SECONDS + longer,
    )
    if said in {"accepts_anything", "truncates"}:
        return unclear(said)
    word, _, standing = said.partition(" ")
    if word in {"ACCEPTED", "REJECTED"}:
        proof = _verdict(Answer(word, ""), len(new.encode()))
        return replace(proof, control=standing) if _STANDING.fullmatch(standing) else proof
    return None


def probe(shell: RootShell, deadline: Deadline, username: str, password: Plaintext) -> Proof:
    """Ask the host's unix_chkpwd(8) for `password`, for a random value, and for all but its last letter.

    Raises `Refused` where no root shell is to be had.
    """
    # Three checks, each of them with a time of its own, in what is left for all.
    said = shell.run("probe_password.sh", {"user": username}, seconds=max(HOST_SECONDS, int(deadline.left())))
    if said.word == "READY":
        # Of a single character nothing would be left, and an empty line asks nothing.
        short = password.reveal()[:-1].encode()
        try:
            said = shell.commit(password.encode(), _random_like(password), short, seconds=deadline.left())
        except Silence:
            return unclear("no_answer")
    return _verdict(said, len(password.encode()))


def _verdict(said: Answer, size_bytes: int) -> Proof:
    match said.word:
        case "ACCEPTED":
            return Proof(Verdict.ACCEPTED, Level.HASH)
        case "REJECTED" if size_bytes <= _SURELY_CHECKED_BYTES:
            return Proof(Verdict.REJECTED, Level.HASH)
        case "REJECTED":
            return unclear("too_long_to_check")
        case "UNCLEAR" if said.rest in _UNCLEAR:
            return unclear(said.rest)
        case "REFUSED":
            raise answers.refusal(said, _REFUSALS)
        case _:
            return unclear("script")


def _random_like(password: Plaintext) -> bytes:
    """A random wrong value, as long as the right one: what a host that accepts anything would accept."""
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(max(16, len(password)))).encode()
