"""Log in on an SSH connection: as the management account, or to show what a credential is good for.

Each attempt is one method and is counted once; nothing else is tried in its place.
"""

from __future__ import annotations

import re

import paramiko

from rotation.connectors.base import Level, Login, LoginRefused, Proof, Unreachable, Verdict
from rotation.connectors.dialling import Deadline
from rotation.connectors.ssh import connections, reasons
from rotation.connectors.ssh.answers import unclear
from rotation.connectors.ssh.connections import Answer
from rotation.connectors.ssh.shell import Conversation, Silence

# What PAM has sshd say before it ends the connection of an account that may not be entered any more; used
# for a better reason, and never shown.
_EXPIRED = re.compile(rb"account has expired", re.IGNORECASE)


def log_in(transport: paramiko.Transport, login: Login) -> None:
    """Log in as the management account: by its key, and by its password where it has no key that works.

    A host that wants both (AuthenticationMethods) is given both, in the order that it asks for.
    Raises `LoginRefused` or `Unreachable`.
    """
    credentials: list[str | paramiko.PKey] = []
    if login.private_key:
        key = connections.private_key(login.private_key)
        if key is None:
            raise LoginRefused(reasons.sentence("bad_key"), code="bad_key")
        credentials.append(key)
    if login.password:
        credentials.append(login.password.reveal())
    if not credentials:
        raise LoginRefused(reasons.sentence("no_credential"), code="no_credential")
    said = ""
    while credentials:
        left = []
        for credential in credentials:
            match connections.authenticate(transport, login.username, credential):
                case Answer.ACCEPTED:
                    return
                case Answer.BROKEN if _says_expired(transport):
                    raise LoginRefused(reasons.sentence("manager_expired"), code="manager_expired")
                case Answer.BROKEN if connections.is_over(transport):
                    raise Unreachable(reasons.sentence("slow_login"))
                case Answer.BROKEN:
                    raise Unreachable(reasons.sentence("manager_broken"), code="manager_broken")
                case Answer.MORE_WANTED:
                    said = "more_wanted"
                case Answer.NOT_OFFERED:
                    left.append(credential)  # it may be wanted after another one
                case Answer.KEYBOARD_ONLY:
                    said = said or "keyboard_only"
        # What was not asked for before is tried again only after another one was taken.
        credentials = left if said == "more_wanted" and len(left) < len(credentials) else []
    raise LoginRefused(reasons.sentence(said), code=said) if said else LoginRefused


def credential_of(login: Login) -> str | paramiko.PKey | None:
    """What to try for this login: its key where it has one, else its password; None for an unreadable key."""
    if login.private_key:
        return connections.private_key(login.private_key)
    return login.password.reveal() if login.password else None


def prove(
    transport: paramiko.Transport, username: str, credential: str | paramiko.PKey, deadline: Deadline
) -> Proof:
    """Make one attempt on a connection without a login yet, as `Connector.prove_login` does."""
    match connections.authenticate(transport, username, credential):
        case Answer.ACCEPTED:
            return _prove_command(Conversation(transport, deadline))
        case Answer.WRONG:
            return Proof(Verdict.REJECTED, Level.LOGIN)
        case Answer.NOT_OFFERED:
            return unclear("not_offered")
        case Answer.KEYBOARD_ONLY:
            return unclear("keyboard_only")
        case Answer.MORE_WANTED:
            return unclear("more_wanted")
        case Answer.BROKEN:
            return unclear("expired" if _says_expired(transport) else _why_broken(transport))


def _why_broken(transport: paramiko.Transport) -> str:
    return "slow_login" if connections.is_over(transport) else "broken_login"


def _says_expired(transport: paramiko.Transport) -> bool:
    # Not get_banner(): it returns nothing once the connection has ended.
    banner = getattr(transport.auth_handler, "banner", None)
    return isinstance(banner, bytes) and _EXPIRED.search(banner) is not None


def _prove_command(talk: Conversation) -> Proof:
    """Find out whether the login, which succeeded, can run a command."""
    try:
        talk.start("echo $n DONE")
        if talk.first().word == "DONE":
            return Proof(Verdict.ACCEPTED, Level.COMMAND)
    except Silence as silence:
        if talk.password_must_change:
            return unclear("must_change")
        if talk.has_no_session:
            return unclear("no_session")
        if not silence.ended:
            return unclear("no_answer")
    return Proof(Verdict.ACCEPTED, Level.LOGIN, reasons.sentence("login_only"))
