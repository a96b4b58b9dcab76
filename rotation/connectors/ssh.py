"""Change and test passwords and keys on hosts that speak SSH, with a management account and sudo.

Every call is one connection of its own and one deadline. A new value leaves this process only for the
standard input of a script on the host that has answered under this call's nonce.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import string
from collections.abc import Iterator

import paramiko

from rotation.connectors import ssh_keys, ssh_preflight, ssh_session, words
from rotation.connectors.base import (
    Busy,
    Check,
    ConnectorError,
    Endpoint,
    Facts,
    Fence,
    HostKey,
    HostKeyChanged,
    Kind,
    Level,
    Login,
    LoginRefused,
    Manager,
    Proof,
    Refused,
    Stale,
    Sudo,
    Unknown,
    Unreachable,
    Verdict,
)
from rotation.connectors.ssh_scripts import HOST_SECONDS
from rotation.connectors.ssh_session import Answer, Deadline
from rotation.connectors.ssh_shell import Answer as Said
from rotation.connectors.ssh_shell import Conversation, RootShell, Silence
from secrets_app.plaintext import Plaintext

_ANSWER_SECONDS = 10.0  # for a change that has been committed: longer than the host's own limit
_SHORTEST_CHANGE = 5  # seconds on the host below which a change is not begun

# Words that a script may give for having refused, as the codes of `Refused`; others are not believed.
_REFUSALS = words.ACCOUNT_PROBLEMS | {
    "foreign_console",
    "fence",
    "disk",
    "shell",
    "sudo",
    "policy",
    "timeout",
}
_UNCLEAR = words.ACCOUNT_PROBLEMS | {"no_checker", "checker_failed", "accepts_anything"}
# Before pam 1.4, unix_chkpwd read at most 200 bytes with the final NUL and judged what it had.
_SURELY_CHECKED_BYTES = 199
_CONSOLE_ID = re.compile(r"[0-9a-fA-F-]{1,36}")


class SshConnector:
    """One host that speaks SSH, as `Connector`. Not shared between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def preflight(
        self,
        manager: Manager,
        username: str = "",
        *,
        timeout: float,
        console_id: str = "",
        kind: Kind = Kind.PASSWORD,
    ) -> Facts:
        """As `Connector.preflight`: one connection, one script that only reads."""
        if username and not words.is_username(username):
            return Facts(checks=(ssh_preflight.blocked("bad_user", name="account"),))
        checks: list[Check] = []
        try:
            with self._connected(Deadline(timeout)) as (transport, deadline):
                checks.append(ssh_preflight.passed("reachable", "The host answers on its SSH port."))
                checks.append(ssh_preflight.passed("host_key", "The host shows the key that was approved."))
                _log_in(transport, manager.login)
                checks.append(ssh_preflight.passed("login", "The management account can log in."))
                shell = RootShell(transport, manager, deadline)
                shell.open()
                checks.append(ssh_preflight.passed("sudo", _root_sentence(manager.sudo)))
                return _look(shell, manager, username, console_id, kind).facts(checks)
        except ConnectorError as error:
            return Facts(checks=(*checks, _failed_check(error)))

    def set_password(
        self, manager: Manager, username: str, new: Plaintext, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.set_password`.

        The host's own limit for the change ends before `timeout` does. Where less than some six seconds
        are left once a shell is open, the change is not begun and `Unreachable` is raised.
        """
        if not words.is_username(username):
            raise Refused(words.sentence("bad_user"), code="bad_user")
        if not words.is_value(new.reveal()):
            raise Refused(words.sentence("bad_value"), code="bad_value")
        arguments = {
            "user": username,
            "console": _checked_console(fence.console_id),
            "generation": str(int(fence.generation)),
        }
        with self._root_shell(manager, Deadline(timeout)) as (shell, deadline):
            seconds = min(HOST_SECONDS, int(deadline.left()) - 1)
            if seconds < _SHORTEST_CHANGE:
                raise Unreachable(words.sentence("no_answer"))
            _expect_ready(shell.run("set_password.sh", arguments, seconds=seconds))
            try:
                said = shell.commit(new.encode(), seconds=_ANSWER_SECONDS)
            except Silence:
                raise Unknown from None
        _expect_applied(said)

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """As `Connector.probe_password`, by the host's unix_chkpwd(8) and with a random control value."""
        if not words.is_username(username):
            return _unclear("bad_user")
        if not words.is_value(password.reveal()):
            return _unclear("bad_value")
        try:
            with self._root_shell(manager, Deadline(timeout)) as (shell, deadline):
                said = shell.run("probe_password.sh", {"user": username})
                if said.word == "READY":
                    control = _random_like(password)
                    said = shell.commit(password.encode(), control, seconds=deadline.left())
        except Silence:
            return _unclear("no_answer")
        except Refused as refusal:
            return Proof(Verdict.UNCLEAR, reason=str(refusal))
        return _probe_verdict(said, len(password.encode()))

    def add_key(
        self, manager: Manager, username: str, public_key: str, *, like: str, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.add_key`, with the host's own limit as `set_password` has it."""
        ssh_keys.check(username, public_key, *filter(None, [like]))
        _checked_console(fence.console_id)
        with self._root_shell(manager, Deadline(timeout)) as (shell, deadline):
            ssh_keys.edit(shell, deadline, username, "add", public_key, like, fence)

    def remove_key(
        self, manager: Manager, username: str, public_key: str, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.remove_key`, with the host's own limit as `set_password` has it."""
        ssh_keys.check(username, public_key)
        _checked_console(fence.console_id)
        with self._root_shell(manager, Deadline(timeout)) as (shell, deadline):
            ssh_keys.edit(shell, deadline, username, "remove", public_key, "", fence)

    def probe_key(self, manager: Manager, username: str, public_key: str, *, timeout: float) -> Proof:
        """As `Connector.probe_key`: the files are read as the account reads them."""
        try:
            ssh_keys.check(username, public_key)
            with self._root_shell(manager, Deadline(timeout)) as (shell, deadline):
                return ssh_keys.probe(shell, deadline, username, public_key)
        except Refused as refusal:
            return Proof(Verdict.UNCLEAR, reason=str(refusal))

    def prove_login(self, login: Login, *, timeout: float) -> Proof:
        """As `Connector.prove_login`. With both values set, the private key is the one that is tried."""
        credential: str | paramiko.PKey | None = login.password.reveal() if login.password else None
        if login.private_key:
            credential = ssh_session.private_key(login.private_key)
        if credential is None:
            return _unclear("bad_key" if login.private_key else "no_credential")
        with self._connected(Deadline(timeout)) as (transport, deadline):
            match ssh_session.authenticate(transport, login.username, credential):
                case Answer.ACCEPTED:
                    return _prove_command(Conversation(transport, deadline))
                case Answer.WRONG:
                    return Proof(Verdict.REJECTED, Level.LOGIN)
                case Answer.NOT_OFFERED:
                    return _unclear("not_offered")
                case Answer.MORE_WANTED:
                    return _unclear("more_wanted")
                case Answer.BROKEN:
                    return _unclear("broken_login")

    @contextlib.contextmanager
    def _connected(self, deadline: Deadline) -> Iterator[tuple[paramiko.Transport, Deadline]]:
        with ssh_session.connected(self._endpoint, deadline) as transport:
            yield transport, deadline

    @contextlib.contextmanager
    def _root_shell(self, manager: Manager, deadline: Deadline) -> Iterator[tuple[RootShell, Deadline]]:
        with ssh_session.connected(self._endpoint, deadline) as transport:
            _log_in(transport, manager.login)
            shell = RootShell(transport, manager, deadline)
            shell.open()
            yield shell, deadline


class SshScanner:
    """Reads host keys, as `Scanner`: one handshake for each type of key, and no login."""

    def scan(self, address: str, port: int, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`: types that the host does not have are left out."""
        deadline = Deadline(timeout)
        found = (ssh_session.shown_key(address, port, kind, deadline) for kind in ssh_session.KEY_TYPES)
        keys = tuple(HostKey(k.get_name(), k.get_base64(), k.fingerprint) for k in found if k)
        if not keys:
            raise Unreachable(words.sentence("weak_ssh"), code="weak_ssh")
        return keys


def _log_in(transport: paramiko.Transport, login: Login) -> None:
    """Log in as the management account: by its key, and by its password where it has no key that works."""
    credentials: list[str | paramiko.PKey] = []
    if login.private_key:
        key = ssh_session.private_key(login.private_key)
        if key is None:
            raise LoginRefused(words.sentence("bad_key"), code="bad_key")
        credentials.append(key)
    if login.password:
        credentials.append(login.password.reveal())
    if not credentials:
        raise LoginRefused(words.sentence("no_credential"), code="no_credential")
    for credential in credentials:
        match ssh_session.authenticate(transport, login.username, credential):
            case Answer.ACCEPTED:
                return
            case Answer.BROKEN:
                raise Unreachable(words.sentence("broken_login"))
            case Answer.MORE_WANTED:
                raise LoginRefused(words.sentence("more_wanted"), code="more_wanted")
    raise LoginRefused


def _look(
    shell: RootShell, manager: Manager, username: str, console_id: str, kind: Kind
) -> ssh_preflight.Findings:
    arguments = ssh_keys.arguments(username, shell) | {
        "console": _checked_console(console_id) if console_id else "",
        "manager": manager.login.username,
        "kind": kind.value,
    }
    findings = ssh_preflight.Findings(username, kind)
    said = shell.run("preflight.sh", arguments)
    while said.word == "FACT":
        findings.put(said.rest)
        said = shell.next()
    if said.word != "END":
        raise _refusal(said)
    return findings


def _checked_console(console_id: str) -> str:
    # It names a folder on the host; anything but a UUID is a bug of ours.
    if not _CONSOLE_ID.fullmatch(console_id):
        raise ValueError("console_id must be a UUID")
    return console_id.lower()


def _expect_ready(said: Said) -> None:
    match said.word:
        case "READY":
            return
        case "STALE":
            raise Stale
        case "BUSY":
            raise Busy
        case _:
            raise _refusal(said)


def _expect_applied(said: Said) -> None:
    match said.word:
        case "APPLIED":
            return
        case "ABORTED":
            raise Unreachable(words.sentence("late"), code="late")
        case "FAILED" if said.rest in _REFUSALS:
            raise _refusal(said)
        case _:
            raise Unknown(words.sentence("unsure"))


def _refusal(said: Said) -> Refused:
    code = said.rest if said.rest in _REFUSALS else "script"
    return Refused(words.sentence("not_root" if code == "sudo" else code), code=code)


def _probe_verdict(said: Said, size_bytes: int) -> Proof:
    match said.word:
        case "ACCEPTED":
            return Proof(Verdict.ACCEPTED, Level.HASH)
        case "REJECTED" if size_bytes <= _SURELY_CHECKED_BYTES:
            return Proof(Verdict.REJECTED, Level.HASH)
        case "REJECTED":
            return _unclear("too_long_to_check")
        case "UNCLEAR" | "REFUSED" if said.rest in _UNCLEAR:
            return _unclear(said.rest)
        case _:
            return _unclear("script")


def _prove_command(talk: Conversation) -> Proof:
    """The login went through; find out whether it is good for anything."""
    try:
        talk.start("echo $n DONE")
        if talk.first().word == "DONE":
            return Proof(Verdict.ACCEPTED, Level.COMMAND)
    except Silence as silence:
        if talk.password_must_change:
            return _unclear("must_change")
        if not silence.ended:
            return _unclear("no_answer")
    return Proof(Verdict.ACCEPTED, Level.LOGIN, words.sentence("login_only"))


def _random_like(password: Plaintext) -> bytes:
    """A random wrong value, as long as the right one: what a host that accepts anything would accept."""
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(max(16, len(password)))).encode()


def _unclear(word: str) -> Proof:
    return Proof(Verdict.UNCLEAR, reason=words.sentence(word))


def _root_sentence(sudo: Sudo) -> str:
    if sudo == Sudo.NONE:
        return "The management account is root."
    return "The management account can run a root shell by sudo."


def _failed_check(error: ConnectorError) -> Check:
    name = "command"
    match error:
        case Unreachable():
            name = "reachable"
        case HostKeyChanged():
            name = "host_key"
        case LoginRefused():
            name = "login"
        case Refused(code="sudo"):
            name = "sudo"
    return ssh_preflight.blocked(error.code, name=name, sentence=str(error))
