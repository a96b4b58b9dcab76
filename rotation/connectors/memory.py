"""A host that exists in memory only, for tests and for trying the engine without a network.

It keeps the promises of `Connector` as a real host does, and can be told to break in every way that the
engine has to survive. Faults are attributes; an armed one stays armed until it is taken back.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rotation.connectors import words
from rotation.connectors.base import (
    Busy,
    Check,
    Facts,
    Fence,
    HostKey,
    HostKeyChanged,
    Level,
    Login,
    LoginRefused,
    Manager,
    Mark,
    Proof,
    Refused,
    Stale,
    Sudo,
    Unknown,
    Unreachable,
    Verdict,
)
from secrets_app.plaintext import Plaintext


@dataclass
class MemoryAccount:
    """An account of a simulated host; `problem` is one of `words.ACCOUNT_PROBLEMS`, or empty."""

    password: str = field(repr=False)
    problem: str = ""
    runs_commands: bool = True  # False: its shell is nologin
    generations: dict[str, int] = field(default_factory=dict)  # by console


@dataclass
class MemoryHost:
    """A simulated host: its accounts, the faults that are armed, and a log of what it was asked."""

    accounts: dict[str, MemoryAccount] = field(default_factory=dict)
    sudo_asks_for: str = field(default="", repr=False)  # the management account's password; empty: NOPASSWD

    # Before anything is sent: nothing changes.
    unreachable: bool = False
    host_key_changed: bool = False
    refuses_login: bool = False  # ... of the management account
    runs_forced_command: bool = False
    refuses: str = ""  # a code: every change is refused with it
    is_busy: bool = False
    drops_before_set: bool = False  # the connection ends before the value has left
    # Afterwards: the caller cannot know.
    half_line: bool = False  # the connection ends within the value: the host drops what it has
    drops_after_set: bool = False  # the change is applied, its answer is lost
    lies: bool = False  # reports success and changes nothing
    # Tests of a value.
    accepts_anything: bool = False
    no_checker: bool = False  # no unix_chkpwd
    drops_logins: bool = False  # ends every login's connection instead of answering

    # What it was asked.
    connections: int = 0
    sets: int = 0  # changes that were applied
    probes: int = 0
    failed_logins: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def add_account(self, username: str, password: str) -> MemoryAccount:
        """Add a local account that works."""
        self.accounts[username] = MemoryAccount(password)
        return self.accounts[username]

    def shadow_accepts(self, username: str, password: str) -> bool:
        """Whether this is the account's password now: what is true on the host, asked by nobody."""
        with self.lock:
            account = self.accounts.get(username)
            return account is not None and account.password == password

    def connect(self) -> None:
        """Raise what a connection would: `Unreachable` or `HostKeyChanged`."""
        if self.unreachable:
            raise Unreachable
        if self.host_key_changed:
            raise HostKeyChanged
        self.connections += 1

    def become_root(self, manager: Manager) -> None:
        """Raise what a login with the management account would: also `LoginRefused` and `Refused`."""
        self.connect()
        if self.refuses_login:
            raise LoginRefused
        if self.runs_forced_command:
            raise Refused(words.sentence("forced_command"), code="forced_command")
        if not self.sudo_asks_for or manager.sudo == Sudo.NONE:
            return
        if manager.sudo == Sudo.PASSWORDLESS or not manager.sudo_password:
            raise Refused(words.sentence("sudo"), code="sudo")
        if manager.sudo_password.reveal() != self.sudo_asks_for:
            raise Refused(words.sentence("sudo_password"), code="sudo")

    def problem(self, username: str) -> str:
        """The word for what is wrong with an account, or nothing."""
        return self.accounts[username].problem if username in self.accounts else "no_such_user"


class MemoryConnector:
    """A connection to a simulated host, as `Connector`. Timeouts are ignored: nothing here waits."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host

    def preflight(
        self, manager: Manager, username: str = "", *, timeout: float, console_id: str = ""
    ) -> Facts:
        """As `Connector.preflight`, with one check for each thing that can be wrong here."""
        with self._host.lock:
            try:
                self._host.become_root(manager)
            except (Unreachable, HostKeyChanged, LoginRefused, Refused) as error:
                name = {"unreachable": "reachable", "login_refused": "login"}.get(error.code, error.code)
                return Facts(checks=(Check(name, Mark.BLOCKED, str(error), error.code),))
            accounts = tuple(self._host.accounts)
            checks = [Check("reachable", Mark.PASSED, "The host answers.")]
            if not username:
                return Facts(checks=tuple(checks), accounts=accounts)
            account = self._host.accounts.get(username, MemoryAccount(""))
            for code in filter(None, (self._host.problem(username), self._foreign(account, console_id))):
                checks.append(Check(code, Mark.BLOCKED, words.sentence(code), code))
            return Facts(
                checks=tuple(checks),
                generation=account.generations.get(console_id, 0),
                accounts=accounts,
                password_login=account.runs_commands,
            )

    def set_password(
        self, manager: Manager, username: str, new: Plaintext, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.set_password`."""
        if not words.is_username(username):
            raise Refused(words.sentence("bad_user"), code="bad_user")
        if not words.is_value(new.reveal()):
            raise Refused(words.sentence("bad_value"), code="bad_value")
        host = self._host
        with host.lock:
            host.become_root(manager)
            self._refuse(username, fence)
            if host.drops_before_set:
                raise Unreachable
            if host.half_line:
                raise Unknown
            account = host.accounts[username]
            account.generations[fence.console_id] = fence.generation
            if host.lies:
                return
            account.password = new.reveal()
            host.sets += 1
            if host.drops_after_set:
                raise Unknown

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """As `Connector.probe_password`."""
        if not words.is_value(password.reveal()):
            return _unclear("bad_value")
        host = self._host
        with host.lock:
            try:
                host.become_root(manager)
            except Refused as refusal:
                return Proof(Verdict.UNCLEAR, reason=str(refusal))
            host.probes += 1
            problem = host.problem(username)
            if problem in ("no_such_user", "not_local", "locked", "empty_password"):
                return _unclear(problem)
            if host.no_checker:
                return _unclear("no_checker")
            if host.accepts_anything:
                return _unclear("accepts_anything")
            right = host.shadow_accepts(username, password.reveal())
            return Proof(Verdict.ACCEPTED if right else Verdict.REJECTED, Level.HASH)

    def prove_login(self, login: Login, *, timeout: float) -> Proof:
        """As `Connector.prove_login`; no account of a simulated host accepts a key."""
        host = self._host
        with host.lock:
            host.connect()
            if login.private_key or not login.password:
                return _unclear("not_offered")
            if host.drops_logins:
                return _unclear("broken_login")
            right = host.shadow_accepts(login.username, login.password.reveal())
            problem = host.problem(login.username)
            if not host.accepts_anything and (not right or problem == "locked"):
                host.failed_logins += 1
                return Proof(Verdict.REJECTED, Level.LOGIN)
            if problem in ("expired", "must_change"):
                return _unclear("broken_login" if problem == "expired" else problem)
            if login.username in host.accounts and not host.accounts[login.username].runs_commands:
                return Proof(Verdict.ACCEPTED, Level.LOGIN, words.sentence("login_only"))
            return Proof(Verdict.ACCEPTED, Level.COMMAND)

    def _refuse(self, username: str, fence: Fence) -> None:
        host = self._host
        if host.is_busy:
            raise Busy
        problem = host.problem(username) or self._foreign(host.accounts[username], fence.console_id)
        if code := problem or host.refuses:
            raise Refused(words.sentence(code), code=code)
        if fence.generation < host.accounts[username].generations.get(fence.console_id, 0):
            raise Stale

    def _foreign(self, account: MemoryAccount, console_id: str) -> str:
        return "foreign_console" if any(key != console_id for key in account.generations) else ""


class MemoryScanner:
    """Host keys of simulated hosts, as `Scanner`: `keys` by address; any other address is unreachable."""

    def __init__(self, keys: dict[str, tuple[HostKey, ...]]) -> None:
        self._keys = keys

    def scan(self, address: str, port: int, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`."""
        try:
            return self._keys[address]
        except KeyError:
            raise Unreachable from None


def _unclear(word: str) -> Proof:
    return Proof(Verdict.UNCLEAR, reason=words.sentence(word))
