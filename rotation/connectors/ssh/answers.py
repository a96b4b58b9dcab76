"""What a script on a host answers, and what that says about the host.

The one place where a READY, an APPLIED or a refusal is judged, for passwords and keys alike. A word that the
script in question may not give is not believed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rotation.connectors.base import OVERRIDABLE, Busy, Proof, Refused, Stale, Unknown, Unreachable, Verdict
from rotation.connectors.dialling import Deadline
from rotation.connectors.reasons import Heard
from rotation.connectors.ssh import reasons
from rotation.connectors.ssh import scripts as ssh_scripts
from rotation.connectors.ssh.findings import Findings
from rotation.connectors.ssh.scripts import HOST_SECONDS
from rotation.connectors.ssh.shell import Answer, RootShell, Silence

_ANSWER_SECONDS = 10.0  # for a change that has been committed: longer than the host's own limit
_SHORTEST_CHANGE = 5  # seconds on the host below which a change is not begun

_REFUSALS = reasons.heard(Heard.ANY)
#: What every script asks for before it does anything, as `scripts/common.sh` names it.
TOOLS = frozenset({"id", "date", "df", "ls", "cat", "dd", "mv", "rm", "mkdir", "chmod"})


def change(
    shell: RootShell,
    deadline: Deadline,
    script: str,
    arguments: Mapping[str, str],
    *values: bytes,
    believed: Collection[str],
    host_seconds: int = HOST_SECONDS,
) -> str:
    """Have the host make a change; the values, if any, leave only for a script that has said READY.

    Returns what it said beside APPLIED. Raises as `Connector.set_password` does.
    `believed` are the words for a refusal that the script may give, `host_seconds` is the most that it has.
    """
    seconds = min(host_seconds, int(deadline.left()) - 1)
    if seconds < _SHORTEST_CHANGE:
        raise Unreachable(reasons.sentence("no_answer"))
    _expect_ready(shell.run(script, arguments, seconds=seconds), believed)
    try:
        said = shell.commit(*values, seconds=max(_ANSWER_SECONDS, seconds + 2.0))
    except Silence:
        raise Unknown from None
    _expect_applied(said, believed)
    if ssh_scripts.stays(script):
        shell.settle()
    return said.rest


def look(shell: RootShell, script: str, arguments: Mapping[str, str]) -> Findings:
    """Run a script that only looks, and return what it finds. Raises as `RootShell.run`."""
    findings = Findings()
    said = shell.run(script, arguments)
    while said.word == "FACT":
        findings.put(said.rest)
        said = shell.next()
    if said.word != "END":
        raise refusal(said, _REFUSALS)
    if ssh_scripts.stays(script):
        shell.rest()
    return findings


def allowed_words(allowed: Collection[str]) -> str:
    """The reasons that a script may let pass, as its argument. Raises ValueError for any other."""
    if not OVERRIDABLE.issuperset(allowed):
        raise ValueError("only the reasons in OVERRIDABLE can be allowed")
    return " ".join(sorted(allowed))


def refusal(said: Answer, believed: Collection[str]) -> Refused:
    """What to raise for a script that stopped before it did anything."""
    code, _, tool = said.rest.partition(" ")
    if code == "no_tool" and code in believed and tool in TOOLS:
        return Refused(reasons.sentence(code).format(tool), code=code)
    code = said.rest if said.rest in believed and not tool else "script"
    return Refused(reasons.sentence("not_root" if code == "sudo" else code), code=code)


def unclear(word: str) -> Proof:
    """No verdict, for the reason that this word names."""
    return Proof(Verdict.UNCLEAR, reason=reasons.sentence(word), code=word)


def _expect_ready(said: Answer, believed: Collection[str]) -> None:
    match said.word:
        case "READY":
            return
        case "STALE":
            raise Stale
        case "BUSY":
            raise Busy
        case _:
            raise refusal(said, believed)


def _expect_applied(said: Answer, believed: Collection[str]) -> None:
    match said.word:
        case "APPLIED":
            return
        case "ABORTED":
            raise Unreachable(reasons.sentence("late"), code="late")
        case "FAILED" if said.rest == "changed" and "changed" in believed:
            raise Busy(reasons.sentence("changed"))
        case "FAILED" if said.rest in believed:
            raise refusal(said, believed)
        case _:
            raise Unknown(reasons.sentence("unsure"))
