"""A host that exists in memory only, for tests and for trying the engine without a network.

It keeps the promises of `Connector` as a real host does, and can be told to break in every way that the
engine has to survive. Faults are attributes; an armed one stays armed until it is taken back.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rotation.connectors import ssh_session, words
from rotation.connectors.base import (
    Busy,
    Check,
    Facts,
    Fence,
    HostKey,
    HostKeyChanged,
    Kind,
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
    keys: list[str] = field(default_factory=list)  # each a line of authorized_keys, without options
    key_generations: dict[str, int] = field(default_factory=dict)


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
    ignores_new_keys: bool = False  # sshd does not take a key that is added, for its algorithm
    keeps_keys: bool = False  # a key that is removed is still accepted, from somewhere else
    drops_logins: bool = False  # ends every login's connection instead of answering

    # What it was asked.
    connections: int = 0
    sets: int = 0  # changes that were applied
    probes: int = 0
    removals: int = 0
    ignored_keys: list[str] = field(default_factory=list)
    kept_keys: list[str] = field(default_factory=list)
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
        self,
        manager: Manager,
        username: str = "",
        *,
        timeout: float,
        console_id: str = "",
        kind: Kind = Kind.PASSWORD,
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
            generations = account.key_generations if kind == Kind.KEY else account.generations
            problem = self._problem(username, kind)
            for code in filter(None, (problem, self._foreign(generations, console_id))):
                checks.append(Check(code, Mark.BLOCKED, words.sentence(code), code))
            return Facts(
                checks=tuple(checks),
                generation=generations.get(console_id, 0),
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
            self._refuse(username, fence, Kind.PASSWORD)
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
        """As `Connector.prove_login`."""
        host = self._host
        with host.lock:
            host.connect()
            if host.drops_logins:
                return _unclear("broken_login")
            if login.private_key:
                return self._key_login(login.username, login.private_key)
            if not login.password:
                return _unclear("no_credential")
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

    def add_key(
        self, manager: Manager, username: str, public_key: str, *, like: str, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.add_key`."""
        self._edit(manager, username, public_key, fence, is_added=True)

    def remove_key(
        self, manager: Manager, username: str, public_key: str, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.remove_key`."""
        self._edit(manager, username, public_key, fence, is_added=False)

    def probe_key(self, manager: Manager, username: str, public_key: str, *, timeout: float) -> Proof:
        """As `Connector.probe_key`."""
        host = self._host
        with host.lock:
            try:
                host.become_root(manager)
            except Refused as refusal:
                return Proof(Verdict.UNCLEAR, reason=str(refusal))
            host.probes += 1
            problem = host.problem(username)
            if problem in ("no_such_user", "not_local"):
                return _unclear(problem)
            found = public_key in host.accounts[username].keys
            return Proof(Verdict.ACCEPTED if found else Verdict.REJECTED, Level.LISTED)

    def _edit(
        self, manager: Manager, username: str, public_key: str, fence: Fence, *, is_added: bool
    ) -> None:
        if not words.is_username(username):
            raise Refused(words.sentence("bad_user"), code="bad_user")
        if not words.is_public_key(public_key):
            raise Refused(words.sentence("bad_key_line"), code="bad_key_line")
        host = self._host
        with host.lock:
            host.become_root(manager)
            self._refuse(username, fence, Kind.KEY)
            if host.drops_before_set:
                raise Unreachable
            if host.half_line:
                raise Unknown
            account = host.accounts[username]
            account.key_generations[fence.console_id] = fence.generation
            if host.lies:
                return
            self._change_keys(account, public_key, is_added=is_added)
            if host.drops_after_set:
                raise Unknown

    def _change_keys(self, account: MemoryAccount, public_key: str, *, is_added: bool) -> None:
        host = self._host
        if is_added and public_key not in account.keys:
            account.keys.append(public_key)
            host.sets += 1
            if host.ignores_new_keys:
                host.ignored_keys.append(public_key)
        elif not is_added and public_key in account.keys:
            account.keys.remove(public_key)
            host.removals += 1
            if host.keeps_keys:
                host.kept_keys.append(public_key)

    def _key_login(self, username: str, private: Plaintext) -> Proof:
        host = self._host
        key = ssh_session.private_key(private)
        if key is None:
            return _unclear("bad_key")
        public = f"{key.get_name()} {key.get_base64()}"
        account = host.accounts.get(username, MemoryAccount(""))
        listed = public in account.keys and public not in host.ignored_keys
        if not listed and public not in host.kept_keys:
            return Proof(Verdict.REJECTED, Level.LOGIN)
        if problem := self._problem(username, Kind.KEY):
            return _unclear("broken_login" if problem == "expired" else problem)
        if not account.runs_commands:
            return Proof(Verdict.ACCEPTED, Level.LOGIN, words.sentence("login_only"))
        return Proof(Verdict.ACCEPTED, Level.COMMAND)

    def _problem(self, username: str, kind: Kind) -> str:
        """A locked or empty password stands in the way of passwords only."""
        problem = self._host.problem(username)
        if kind == Kind.KEY:
            if problem in ("locked", "empty_password"):
                return ""
            return "must_change_first" if problem == "must_change" else problem
        return problem

    def _refuse(self, username: str, fence: Fence, kind: Kind) -> None:
        host = self._host
        if host.is_busy:
            raise Busy
        problem = self._problem(username, kind)
        generations: dict[str, int] = {}
        if username in host.accounts:
            account = host.accounts[username]
            generations = account.key_generations if kind == Kind.KEY else account.generations
        if code := problem or self._foreign(generations, fence.console_id) or host.refuses:
            raise Refused(words.sentence(code), code=code)
        if fence.generation < generations.get(fence.console_id, 0):
            raise Stale

    def _foreign(self, generations: dict[str, int], console_id: str) -> str:
        return "foreign_console" if any(key != console_id for key in generations) else ""


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
