"""Change and test passwords and keys on hosts that speak SSH, with a management account and sudo.

Every call is one connection of its own, or a channel of the lifeline or of a shared one, and one deadline. A
new value leaves this process only for the standard input of a script on the host that has answered under this
call's nonce.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import paramiko

from rotation.connectors import words
from rotation.connectors.base import (
    Busy,
    Check,
    ConnectorError,
    Endpoint,
    Facts,
    Fence,
    HostKey,
    Kind,
    Level,
    Login,
    Manager,
    Proof,
    Refused,
    Stale,
    Traces,
    Unreachable,
    Verdict,
)
from rotation.connectors.dialling import Deadline
from rotation.connectors.ssh import (
    answers,
    connections,
    key_files,
    logins,
    passwords,
    preflights,
    reasons,
    traces,
)
from rotation.connectors.ssh.accounts import Question
from rotation.connectors.ssh.answers import unclear
from rotation.connectors.ssh.findings import blocked, passed
from rotation.connectors.ssh.shell import RootShell
from secrets_app.crypto.plaintext import Plaintext

_CONSOLE_ID = re.compile(r"[0-9a-fA-F-]{1,36}")
_AGAIN_SECONDS = 6.0  # in which a shell opens on a connection that was open already, or another is opened
_GRACE_SECONDS = 2.0  # that a call on the lifeline has to end by its own deadline, before the lifeline does


class SshConnector:
    """One host that speaks SSH, as `Connector`. Not shared between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lifeline: paramiko.Transport | None = None
        self._is_slow = False  # to make a hash, as the last preflight found
        self._later: key_files.Later | None = None  # what it found of the daemon
        self._shares = False
        self._kept: _Kept | None = None

    def preflight(
        self,
        manager: Manager,
        username: str = "",
        *,
        timeout: float,
        console_id: str = "",
        kind: Kind = Kind.PASSWORD,
        allowed: Collection[str] = (),
        public_key: str = "",
    ) -> Facts:
        """As `Connector.preflight`: one connection, one script that only reads."""
        if username and not words.is_username(username):
            return Facts(checks=(blocked("bad_user", name="account"),))
        if public_key:
            key_files.check(username, public_key)
        answers.allowed_words(allowed)
        checks: list[Check] = []
        console_id = _checked_console(console_id) if console_id else ""
        question = Question(username, kind, console_id, frozenset(allowed), public_key)
        try:
            with self._root_shell(manager, timeout, checks) as (shell, _):
                facts, self._later = preflights.look(shell, manager, question, checks)
                self._is_slow = facts.is_slow
                return facts
        except ConnectorError as error:
            return Facts(checks=(*checks, preflights.failed(error)))

    def set_password(
        self,
        manager: Manager,
        username: str,
        new: Plaintext,
        *,
        fence: Fence,
        timeout: float,
        allowed: Collection[str] = (),
        controlled: str = "",
        login_follows: bool = False,
    ) -> Proof | None:
        """As `Connector.set_password`.

        The host's own limit for the change ends before `timeout` does. Where less than some six seconds
        are left once a shell is open, the change is not begun and `Unreachable` is raised.
        """
        passwords.check(username, new)
        fence = _checked_fence(fence)
        with self._root_shell(manager, timeout) as (shell, deadline):
            return passwords.change(
                shell,
                deadline,
                username,
                new,
                fence,
                allowed,
                controlled,
                login_follows=login_follows,
                is_slow=self._is_slow,
            )

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """As `Connector.probe_password`, by the host's unix_chkpwd(8) and with a random control value."""
        try:
            passwords.check(username, password)
            with self._root_shell(manager, timeout) as (shell, deadline):
                return passwords.probe(shell, deadline, username, password)
        except Refused as refusal:
            return Proof(Verdict.UNCLEAR, reason=str(refusal), code=refusal.code)

    def add_key(
        self,
        manager: Manager,
        username: str,
        public_key: str,
        *,
        like: str,
        fence: Fence,
        timeout: float,
        allowed: Collection[str] = (),
    ) -> Proof:
        """As `Connector.add_key`, with the host's own limit as `set_password` has it."""
        key_files.check(username, public_key, *filter(None, [like]))
        fence = _checked_fence(fence)
        with self._root_shell(manager, timeout) as (shell, deadline):
            key_files.edit(shell, deadline, username, "add", public_key, like, fence, allowed, self._later)
        return Proof(Verdict.ACCEPTED, Level.LISTED)

    def remove_key(
        self, manager: Manager, username: str, public_key: str, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.remove_key`, with the host's own limit as `set_password` has it."""
        key_files.check(username, public_key)
        fence = _checked_fence(fence)
        with self._root_shell(manager, timeout) as (shell, deadline):
            key_files.edit(shell, deadline, username, "remove", public_key, "", fence, told=self._later)

    def probe_key(self, manager: Manager, username: str, public_key: str, *, timeout: float) -> Proof:
        """As `Connector.probe_key`: the files are read as the account reads them."""
        try:
            key_files.check(username, public_key)
            with self._root_shell(manager, timeout) as (shell, deadline):
                return key_files.probe(shell, deadline, username, public_key)
        except Refused as refusal:
            return Proof(Verdict.UNCLEAR, reason=str(refusal), code=refusal.code)

    def trace(
        self, manager: Manager, username: str, *, kind: Kind, console_id: str, timeout: float
    ) -> Traces:
        """As `Connector.trace`. Without sha256sum on the host the mark is empty."""
        key_files.check(username)
        console_id = _checked_console(console_id)
        with self._root_shell(manager, timeout) as (shell, _):
            return traces.read(shell, username, kind, console_id)

    def end_sessions(self, manager: Manager, username: str, *, timeout: float) -> int:
        """As `Connector.end_sessions`; counts connections, each with however many shells it has."""
        key_files.check(username)
        if username == manager.login.username:
            raise Refused(reasons.sentence("own_session"), code="own_session")
        with self._root_shell(manager, timeout) as (shell, _):
            return traces.end_sessions(shell, username)

    @contextlib.contextmanager
    def lifeline(self, manager: Manager, *, timeout: float) -> Iterator[None]:
        """As `Connector.lifeline`: one connection, on which each call is a channel of its own.

        A call brings its own way to root: the sudo password may be another one by then.
        """
        if self._lifeline is not None:
            raise ValueError("a lifeline is open already")
        deadline = Deadline(timeout)
        with self._own_session(manager, deadline) as transport:
            shell = RootShell(transport, manager, deadline)
            shell.open()
            answers.look(shell, "is_root.sh", {})
            shell.close()
            connections.allow(transport, Deadline(math.inf))
            self._lifeline = transport
            try:
                yield
            finally:
                self._lifeline = None

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """As `Connector.shared`: a channel for each call, one after the other, as `MaxSessions 1` allows."""
        if self._shares:
            raise ValueError("a connection is shared already")
        self._shares = True
        try:
            yield
        finally:
            self._shares = False
            self._drop()

    def prove_login(self, login: Login, *, timeout: float) -> Proof:
        """As `Connector.prove_login`. With both values set, the private key is the one that is tried."""
        credential = logins.credential_of(login)
        if credential is None:
            return unclear("bad_key" if login.private_key else "no_credential")
        deadline = Deadline(timeout)
        with connections.connected(self._endpoint, deadline) as transport:
            return logins.prove(transport, login.username, credential, deadline)

    @contextlib.contextmanager
    def _root_shell(
        self, manager: Manager, timeout: float, checks: list[Check] | None = None
    ) -> Iterator[tuple[RootShell, Deadline]]:
        """Return a root shell for this call alone; each check that passes on the way is added to `checks`."""
        deadline = Deadline(timeout)
        checks = [] if checks is None else checks
        if self._shares and self._lifeline is None:
            with self._shared_shell(manager, deadline, checks) as shell:
                yield shell, deadline
            return
        session = self._borrowed if self._lifeline else self._logged_in
        with session(manager, deadline, checks) as transport:
            shell = RootShell(transport, manager, deadline)
            try:
                shell.open()
                checks.append(passed("sudo", words.root_sentence(manager.sudo)))
                yield shell, deadline
            finally:
                # The end of a connection ends its channels; the lifeline's goes on.
                if self._lifeline is not None:
                    shell.close()

    @contextlib.contextmanager
    def _shared_shell(self, manager: Manager, deadline: Deadline, checks: list[Check]) -> Iterator[RootShell]:
        """Return a root shell on the shared connection, which stays open unless the call breaks it."""
        opened = self._open_again(manager, deadline)
        checks += _ways_in(manager) if opened else []
        shell = opened or RootShell(self._keep(manager, deadline, checks), manager, deadline)
        is_whole = False
        try:
            if opened is None:
                shell.open()
            checks.append(passed("sudo", words.root_sentence(manager.sudo)))
            yield shell
            is_whole = True
        except (Refused, Stale, Busy):
            is_whole = True  # the host has answered to the end
            raise
        finally:
            if is_whole and not shell.stays:
                shell.close()
            if is_whole and (shell.stays or shell.has_ended) and self._kept is not None:
                self._kept.shell = shell if shell.stays else None
                connections.allow(self._kept.transport, Deadline(math.inf))
            else:
                # A command may still run or send output there, so the next call opens a new connection.
                self._drop()

    def _open_again(self, manager: Manager, deadline: Deadline) -> RootShell | None:
        """Open a shell on the connection that an earlier call left; return None if that fails.

        This call has sent nothing then, so it may open a connection of its own. The first try takes at most
        half of the call's time: a connection that was cut gives no answer.
        """
        kept = self._kept
        if kept is None:
            return None
        if kept.login is not manager.login or not kept.transport.is_active():
            self._drop()
            return None
        soon = Deadline(min(_AGAIN_SECONDS, deadline.left() / 2))
        connections.allow(kept.transport, Deadline(soon.left() + _GRACE_SECONDS))
        shell, is_root = kept.take(manager), True
        if shell is None:
            shell, is_root = RootShell(kept.transport, manager, soon), False
        try:
            if not is_root:
                shell.open()
            elif not shell.is_up(soon):
                raise Unreachable(reasons.sentence("no_answer"))
        except Unreachable:
            self._drop()
            return None
        except ConnectorError:
            self._drop()
            raise
        connections.allow(kept.transport, Deadline(deadline.left() + _GRACE_SECONDS))
        shell.give(deadline)
        return shell

    def _keep(self, manager: Manager, deadline: Deadline, checks: list[Check]) -> paramiko.Transport:
        """Open a connection that later calls go over too."""
        with contextlib.ExitStack() as opening:
            transport = opening.enter_context(self._logged_in(manager, deadline, checks))
            self._kept = _Kept(transport, manager.login, opening.pop_all())
        return transport

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.stack.close()

    @contextlib.contextmanager
    def _own_session(self, manager: Manager, deadline: Deadline) -> Iterator[paramiko.Transport]:
        """A connection for a lifeline: the one that is shared where it is of this login, else a new one."""
        kept = self._kept
        if kept is not None and kept.login is manager.login and kept.transport.is_active():
            kept.take(None)
            connections.allow(kept.transport, Deadline(deadline.left() + _GRACE_SECONDS))
            yield kept.transport
            return
        with self._logged_in(manager, deadline, []) as transport:
            yield transport

    @contextlib.contextmanager
    def _logged_in(
        self, manager: Manager, deadline: Deadline, checks: list[Check]
    ) -> Iterator[paramiko.Transport]:
        with connections.connected(self._endpoint, deadline) as transport:
            reachable, host_key, login = _ways_in(manager)
            checks += [reachable, host_key]
            logins.log_in(transport, manager.login)
            checks.append(login)
            yield transport

    @contextlib.contextmanager
    def _borrowed(
        self, manager: Manager, deadline: Deadline, checks: list[Check]
    ) -> Iterator[paramiko.Transport]:
        """Lend the lifeline to one call; it ends if the call's deadline passes without an answer."""
        transport = self._lifeline
        if transport is None or not transport.is_active():
            raise Unreachable(reasons.sentence("lifeline"))
        connections.allow(transport, Deadline(deadline.left() + _GRACE_SECONDS))
        checks.append(passed("reachable", "The session that is kept open still answers."))
        checks.append(passed("host_key", "The instance showed the key that was approved."))
        checks.append(passed("login", f"{manager.login.username} is logged in."))
        try:
            yield transport
        finally:
            connections.allow(transport, Deadline(math.inf))


@dataclass
class _Kept:
    """A connection that calls share."""

    transport: paramiko.Transport
    login: Login  # that it was let in with
    stack: contextlib.ExitStack = field(repr=False)  # closes it
    shell: RootShell | None = None  # one that waits for another script

    def take(self, manager: Manager | None) -> RootShell | None:
        """Return the shell that waits, if it became root as this manager does; any other is ended."""
        shell, self.shell = self.shell, None
        if shell is None or (manager and shell.manager == manager):
            return shell
        shell.close()
        return None


def _ways_in(manager: Manager) -> list[Check]:
    return [
        passed("reachable", "The instance answers on its SSH port."),
        passed("host_key", "The instance shows the key that was approved."),
        passed("login", f"{manager.login.username} can log in."),
    ]


class SshScanner:
    """Reads host keys, as `Scanner`: one handshake for each type of key, and no login."""

    def scan(self, endpoint: Endpoint, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`: types that the host does not have are left out."""
        deadline = Deadline(timeout)
        shown = (connections.shown_key(endpoint, kind, deadline) for kind in connections.KEY_TYPES)
        keys = tuple(HostKey(k.get_name(), k.get_base64(), k.fingerprint) for k in shown if k)
        if not keys:
            raise Unreachable(reasons.sentence("weak_ssh"), code="weak_ssh")
        return keys


def _checked_fence(fence: Fence) -> Fence:
    return replace(fence, console_id=_checked_console(fence.console_id))


def _checked_console(console_id: str) -> str:
    # It names a folder on the host; anything but a UUID is a bug of ours.
    if not _CONSOLE_ID.fullmatch(console_id):
        raise ValueError("console_id must be a UUID")
    return console_id.lower()
