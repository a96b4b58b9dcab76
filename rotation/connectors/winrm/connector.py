"""Change and test passwords of local accounts on Windows hosts, over WinRM with an administrator's account.

Every call is one connection of its own, or goes over the lifeline's or a shared one, and has one deadline. A
new value leaves this process only for the standard input of a script on the host that has answered under this
call's nonce.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from typing import Final

from winrm.exceptions import WinRMOperationTimeoutError

from rotation.connectors.base import (
    OVERRIDABLE,
    ConnectorError,
    Dependant,
    Endpoint,
    Facts,
    Fence,
    HostKey,
    Kind,
    Level,
    Login,
    LoginRefused,
    Manager,
    Proof,
    Refused,
    Traces,
    Unknown,
    Unreachable,
    Updated,
    Verdict,
)
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import answers, connections, names, preflights, reasons, shell
from rotation.connectors.winrm.connections import Session, Transport
from rotation.connectors.winrm.shell import Silence
from secrets_app.crypto.plaintext import Plaintext

#: Without a console there is no mark to look for; the script is given a name that none has.
_NO_CONSOLE: Final = "-"
_SHORTEST_CHANGE = 6  # seconds below which a change is not begun
_HOST_SHORTER = 5  # the host drops a change so long before the caller gives up
_FINAL_TICKS: Final = 864_000_000_000  # .NET's, in a day
_EPOCH_DAYS: Final = 719_162  # from 0001-01-01 to 1970-01-01


class WinRmConnector:
    """One Windows host, as `Target`, `Passwords`, `Dependants`, `Lifelines` and `Sharing`.

    Not shared between threads.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport = Transport.HTTPS) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._lifeline: Session | None = None
        self._shares = False
        self._kept: Session | None = None
        self._problems: dict[str, str] = {}  # what kept each account out, when it was last looked at

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
        """As `Looks.preflight`: one script that only reads. There are no keys here."""
        if username and not names.is_username(username):
            return Facts(checks=(preflights.blocked("bad_user", name="account", sentence=reasons.BAD_USER),))
        console = names.check_console(console_id) if console_id else _NO_CONSOLE
        _allowed_words(allowed)
        try:
            with self._session(manager, timeout) as session:
                said = shell.look(session, "preflight.ps1", [username, console])
                if isinstance(account := said.get("account"), dict):
                    near = "near_lock_out" if account.get("near") is True else ""
                    self._note(username, answers.problem(account.get("problem")) or near)
                return preflights.facts(
                    said, manager, username, allowed, self._transport.identity, session.ahead_seconds
                )
        except ConnectorError as error:
            return Facts(checks=(preflights.failed(error),))

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
        """As `Passwords.set_password`, by a reset: what Windows keeps about old passwords is not asked.

        At most 127 characters. The host's own check is a logon; it is tried with the new value only, since
        each wrong value counts there, and gives no control: `controlled` and `login_follows` change nothing.
        """
        names.check(username, new)
        console = names.check_console(fence.console_id)
        words = _allowed_words(allowed)
        with self._session(manager, timeout) as session:
            seconds = int(session.left())
            if seconds < _SHORTEST_CHANGE:
                raise Unreachable(reasons.sentence("no_answer"))
            given = [username, console, str(int(fence.generation)), words, str(seconds - _HOST_SHORTER)]
            with shell.running(session, "set_password.ps1", given, is_last=False) as script:
                self._ready(script, username)
                try:
                    script.commit(new)
                    said = script.next()
                except (ConnectorError, WinRMOperationTimeoutError, Silence):
                    raise Unknown from None
                proof = answers.of_change(said)
                self._note(username, proof.code if proof else "")
                return proof

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """As `Passwords.probe_password`, by a logon on the host itself.

        A wrong value counts as a failed one, so the host is not asked where half of those that lock the
        account have been tried, or where the next one would (`near_lock_out`).
        """
        try:
            names.check(username, password)
            with (
                self._session(manager, timeout) as session,
                shell.running(
                    session, "probe_password.ps1", [username, _NO_CONSOLE], is_last=False
                ) as script,
            ):
                return self._probed(script, username, password)
        except Refused as refusal:
            return Proof(Verdict.UNCLEAR, reason=str(refusal), code=refusal.code)

    def update_dependant(
        self,
        manager: Manager,
        username: str,
        value: Plaintext,
        dependant: Dependant,
        *,
        fence: Fence,
        restarts: bool,
        timeout: float,
    ) -> Updated:
        """As `Dependants.update_dependant`. The password is not tried here: the caller has proven it."""
        names.check(username, value)
        if not names.is_dependant(dependant.kind, dependant.name):
            raise answers.refused("dependant_gone")
        console = names.check_console(fence.console_id)
        with self._session(manager, timeout) as session:
            seconds = int(session.left())
            if seconds < _SHORTEST_CHANGE:
                raise Unreachable(reasons.sentence("no_answer"))
            restart = ("always" if dependant.is_running else "running") if restarts else "never"
            given = [
                username, console, dependant.kind, dependant.name, str(int(fence.generation)), restart,
                str(seconds - _HOST_SHORTER),
            ]  # fmt: skip
            with shell.running(session, "dependant.ps1", given, is_last=False) as script:
                self._ready_to_update(script)
                try:
                    script.commit(value)
                    said = script.next()
                except (ConnectorError, WinRMOperationTimeoutError, Silence):
                    raise Unknown from None
                return answers.of_update(said)

    def trace(
        self, manager: Manager, username: str, *, kind: Kind, console_id: str, timeout: float
    ) -> Traces:
        """As `Looks.trace`. The mark is of the time at which the password was last set."""
        names.check(username)
        console = names.check_console(console_id)
        with self._session(manager, timeout) as session:
            said = shell.look(session, "trace.ps1", [username, console])
        if said["say"] != "END":
            raise answers.refused("odd_answer")
        problem, when = answers.problem(said.get("problem")), str(said.get("set", ""))[:32]
        self._note(username, problem)
        mark = hashlib.sha256(f"{console_id}\0{when}".encode()).hexdigest() if when else ""
        return Traces(
            mark=mark,
            changed_on=int(when) // _FINAL_TICKS - _EPOCH_DAYS if when.isdecimal() else None,
            generation=preflights.number(said.get("generation")) or 0,
            problem=problem,
        )

    def prove_login(self, login: Login, *, timeout: float) -> Proof:
        """As `Logins.prove_login`, by one NTLM logon and a script.

        WinRM gives no reason for a refused logon. It counts as a wrong password where this connector has
        found the account in order before; otherwise the answer is unclear. An account that is logged on and
        may open no shell has shown its password. No login is tried where the account was found to be too
        near its lock-out.
        """
        if not login.password:
            return answers.unclear("no_credential")
        if self._problems.get(login.username.lower()) == "near_lock_out":
            return answers.unclear("near_lock_out")
        try:
            session = Session(self._endpoint, login, self._transport, Deadline(timeout))
        except LoginRefused as refusal:
            return self._refused(login.username, refusal.code)
        with contextlib.closing(session):
            try:
                said = shell.look(session, "login.ps1", ["", _NO_CONSOLE])
            except LoginRefused as refusal:
                return self._refused(login.username, refusal.code)
            except (Refused, Unreachable) as error:
                if not session.is_logged_on:
                    raise
                why = "login_only" if error.code == "not_administrator" else error.code
                return Proof(Verdict.ACCEPTED, Level.LOGIN, reasons.sentence(why))
        is_done = said["say"] == "DONE"
        return Proof(Verdict.ACCEPTED, Level.COMMAND if is_done else Level.LOGIN)

    @contextlib.contextmanager
    def lifeline(self, manager: Manager, *, timeout: float) -> Iterator[None]:
        """As `Lifelines.lifeline`: NTLM's logon lasts as long as its connection."""
        if self._lifeline is not None:
            raise ValueError("a lifeline is open already")
        session = Session(self._endpoint, manager.login, self._transport, Deadline(timeout))
        with contextlib.closing(session):
            shell.look(session, "login.ps1", ["", _NO_CONSOLE])
            self._lifeline = session
            try:
                yield
            finally:
                self._lifeline = None

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """As `Sharing.shared`: one connection with one logon, and a shell of its own for each call."""
        if self._shares:
            raise ValueError("a connection is shared already")
        self._shares = True
        try:
            yield
        finally:
            self._shares = False
            self._drop()

    @contextlib.contextmanager
    def _session(self, manager: Manager, timeout: float) -> Iterator[Session]:
        deadline = Deadline(timeout)
        if self._lifeline is not None:
            if self._lifeline.is_broken:
                raise Unreachable(reasons.sentence("lifeline"))
            self._lifeline.allow(deadline)
            yield self._lifeline
        elif self._shares:
            session = self._shared_session(manager, deadline)
            try:
                yield session
            finally:
                if session.is_broken:
                    self._drop()
        else:
            with contextlib.closing(self._logged_on(manager, deadline)) as session:
                yield session

    def _shared_session(self, manager: Manager, deadline: Deadline) -> Session:
        if self._kept is not None and self._kept.login is manager.login and self._kept.is_open():
            self._kept.allow(deadline)
            return self._kept
        self._drop()
        self._kept = self._logged_on(manager, deadline)
        return self._kept

    def _logged_on(self, manager: Manager, deadline: Deadline) -> Session:
        return Session(self._endpoint, manager.login, self._transport, deadline)

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _ready(self, script: shell.Script, username: str) -> None:
        try:
            said = script.next()
        except Silence:
            raise shell.silent(script) from None
        if said["say"] == "REFUSED":
            self._note(username, answers.problem(said.get("code")))
        answers.expect_ready(said)

    def _ready_to_update(self, script: shell.Script) -> None:
        try:
            said = script.next()
        except Silence:
            raise shell.silent(script) from None
        if said["say"] == "GONE":
            raise answers.refused("dependant_gone")
        answers.expect_ready(said)

    def _probed(self, script: shell.Script, username: str, password: Plaintext) -> Proof:
        try:
            said = script.next()
            if said["say"] != "READY":
                proof = answers.of_check(said)
            else:
                self._note(username, "")
                script.commit(password)
                proof = answers.of_check(script.next())
        except Silence:
            return answers.unclear("odd_answer" if script.has_ended else "no_answer")
        if proof.code:
            self._note(username, proof.code)
        return proof

    def _note(self, username: str, problem: str) -> None:
        self._problems[username.lower()] = problem

    def _refused(self, username: str, code: str) -> Proof:
        if code != LoginRefused.code:
            return answers.unclear(code)  # the password was not asked for
        problem = self._problems.get(username.lower())
        if problem == "":
            return Proof(Verdict.REJECTED, Level.LOGIN)
        known = problem is not None and problem in reasons.ALL
        return answers.unclear(problem if known and problem else "no_reason_given")


class WinRmHttpConnector(WinRmConnector):
    """The same over HTTP, where each message is sealed with the keys of the NTLM logon."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, Transport.HTTP)


class WinRmScanner:
    """Asks a host for its certificate, as `Scanner`."""

    def scan(self, endpoint: Endpoint, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`: the certificate in DER, with its SHA-256 in hexadecimal as Windows shows it."""
        return connections.scan(endpoint, Deadline(timeout))


class WinRmNameScanner:
    """Asks a host over HTTP for the name by which it calls itself, as `Scanner`."""

    def scan(self, endpoint: Endpoint, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`: the NetBIOS name of the computer, which is its own fingerprint."""
        return connections.scan_name(endpoint, Deadline(timeout))


def _allowed_words(allowed: Collection[str]) -> str:
    if not OVERRIDABLE.issuperset(allowed):
        raise ValueError("only the reasons in OVERRIDABLE can be allowed")
    return " ".join(sorted(allowed))
