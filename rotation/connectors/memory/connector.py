"""A connection to a host that exists in memory only, for trying the engine without a network.

It keeps the promises of `Connector` as a real host does. The host can be told to break in every way that the
engine has to survive: faults are attributes of `MemoryHost`; an armed one stays armed until it is taken back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

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
    Mark,
    Proof,
    Refused,
    Stale,
    Traces,
    Unknown,
    Unreachable,
    Verdict,
)
from rotation.connectors.memory import reasons
from rotation.connectors.memory.host import MemoryAccount, MemoryHost, public_half
from secrets_app.crypto.plaintext import Plaintext

__all__ = ["MemoryAccount", "MemoryConnector", "MemoryHost", "MemoryScanner"]


class MemoryConnector:
    """A connection to a simulated host, as `Connector`. Timeouts are ignored: nothing here waits."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host
        self._holds_lifeline = False
        self._shares = False
        self._let_in: Login | None = None  # over the connection that is shared

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
        """As `Connector.preflight`, with one check for each thing that can be wrong here."""
        with self._host.lock:
            try:
                self._become_root(manager)
            except ConnectorError as error:
                name = {"unreachable": "reachable", "login_refused": "login"}.get(error.code, error.code)
                return Facts(checks=(Check(name, Mark.BLOCKED, str(error), error.code),))
            accounts = tuple(self._host.accounts)
            checks = [Check("reachable", Mark.PASSED, "The host answers.")]
            if not username:
                return Facts(checks=tuple(checks), accounts=accounts, machine_id=self._host.machine_id)
            account = self._host.accounts.get(username, MemoryAccount(""))
            generations = account.key_generations if kind == Kind.KEY else account.generations
            problem = self._problem(username, kind)
            for code in filter(None, (problem, self._foreign(generations, console_id))):
                if code in allowed:
                    said, mark = f"Overridden: {reasons.sentence(code)}", Mark.WARNING
                else:
                    said, mark = reasons.sentence(code), Mark.BLOCKED
                checks.append(Check(code, mark, said, code, of_account=True))
            return Facts(
                checks=tuple(checks),
                generation=generations.get(console_id, 0),
                machine_id=self._host.machine_id,
                accounts=accounts,
                password_login=account.runs_commands,
            )

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
        """As `Connector.set_password`."""
        if not words.is_username(username):
            raise Refused(reasons.sentence("bad_user"), code="bad_user")
        if not words.is_value(new.reveal()):
            raise Refused(reasons.sentence("bad_value"), code="bad_value")
        host = self._host
        with host.lock:
            self._become_root(manager)
            self._refuse(username, fence, Kind.PASSWORD, allowed)
            is_controlled = controlled == host.standing
            if host.accepts_anything and not is_controlled and not host.no_checker:
                raise Refused(reasons.sentence("accepts_anything"), code="accepts_anything")
            if host.drops_before_set:
                raise Unreachable
            if host.half_line:
                raise Unknown
            account = host.accounts[username]
            # One console manages an account: who takes it over wipes the other one's mark.
            account.generations = {fence.console_id: fence.generation}
            if host.refuses == "policy":
                # The program of the host says so, which runs once the number is written down.
                raise Refused(reasons.sentence("policy"), code="policy")
            if host.lies:
                return None if login_follows and is_controlled else Proof(Verdict.ACCEPTED, Level.HASH)
            host.replaced.append(account.password)
            account.password = new.reveal()
            account.salt += 1
            if account.problem == "must_change":
                account.problem = ""
            host.sets += 1
            if host.drops_after_set:
                raise Unknown
            if login_follows and is_controlled:
                return None
            proof = self._checked(username, new, is_controlled=is_controlled)
            host.controls += not is_controlled
            is_good = proof is not None and proof.verdict == Verdict.ACCEPTED and not is_controlled
            return replace(proof, control=host.standing) if proof and is_good else proof

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """As `Connector.probe_password`."""
        if not words.is_value(password.reveal()):
            return _unclear("bad_value")
        host = self._host
        with host.lock:
            try:
                self._become_root(manager)
            except Refused as refusal:
                return Proof(Verdict.UNCLEAR, reason=str(refusal), code=refusal.code)
            host.probes += 1
            problem = host.problem(username)
            if problem in ("no_such_user", "not_local", "locked", "empty_password"):
                return _unclear(problem)
            if host.is_busy:
                return _unclear("changing")
            return self._checked(username, password) or _unclear("no_checker")

    def _checked(self, username: str, password: Plaintext, *, is_controlled: bool = False) -> Proof | None:
        """What the host's own check says; None where there is none."""
        host = self._host
        if host.no_checker:
            return None
        if is_controlled:
            right = host.shadow_accepts(username, password.reveal())
            return Proof(Verdict.ACCEPTED if right else Verdict.REJECTED, Level.HASH)
        if host.accepts_anything:
            return _unclear("accepts_anything")
        right = host.shadow_accepts(username, password.reveal())
        if right and host.shadow_accepts(username, password.reveal()[:-1]):
            return _unclear("truncates")
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
            if login.password.reveal() == host.accepts_logins_with:
                right = True
            if host.refuses_new_passwords and login.password.reveal() not in host.replaced:
                right = False
            if not host.accepts_anything and (not right or problem == "locked"):
                host.failed_logins += 1
                return Proof(Verdict.REJECTED, Level.LOGIN)
            if problem in ("expired", "must_change"):
                return _unclear("broken_login" if problem == "expired" else problem)
            if login.username in host.accounts and not host.accounts[login.username].runs_commands:
                return Proof(Verdict.ACCEPTED, Level.LOGIN, reasons.sentence("login_only"))
            return Proof(Verdict.ACCEPTED, Level.COMMAND)

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
        """As `Connector.add_key`."""
        self._edit(manager, username, public_key, fence, allowed, is_added=True)
        return Proof(Verdict.ACCEPTED, Level.LISTED)

    def remove_key(
        self, manager: Manager, username: str, public_key: str, *, fence: Fence, timeout: float
    ) -> None:
        """As `Connector.remove_key`."""
        self._edit(manager, username, public_key, fence, (), is_added=False)

    def probe_key(self, manager: Manager, username: str, public_key: str, *, timeout: float) -> Proof:
        """As `Connector.probe_key`."""
        host = self._host
        with host.lock:
            try:
                self._become_root(manager)
            except Refused as refusal:
                return Proof(Verdict.UNCLEAR, reason=str(refusal), code=refusal.code)
            host.probes += 1
            problem = host.problem(username)
            if problem in ("no_such_user", "not_local"):
                return _unclear(problem)
            is_listed = public_key in host.accounts[username].keys
            return Proof(Verdict.ACCEPTED if is_listed else Verdict.REJECTED, Level.LISTED)

    def trace(
        self, manager: Manager, username: str, *, kind: Kind, console_id: str, timeout: float
    ) -> Traces:
        """As `Connector.trace`."""
        host = self._host
        with host.lock:
            self._become_root(manager)
            account = host.accounts.get(username)
            if account is None:
                return Traces(problem="no_such_user")
            is_key = kind == Kind.KEY
            marked = "\n".join(account.keys) if is_key else f"{account.salt}${account.password}"
            generations = account.key_generations if is_key else account.generations
            return Traces(
                mark=hashlib.sha256(f"{console_id}\0{marked}".encode()).hexdigest(),
                changed_on=None if is_key else account.changed_on,
                generation=generations.get(console_id, 0),
                problem=self._problem(username, kind),
            )

    def end_sessions(self, manager: Manager, username: str, *, timeout: float) -> int:
        """As `Connector.end_sessions`."""
        if username == manager.login.username:
            raise Refused("Keyturn works as this account; its sessions are not ended.", code="own_session")
        host = self._host
        with host.lock:
            self._become_root(manager)
            if host.keeps_sessions:
                raise Unreachable
            account = host.accounts.get(username)
            if account is None:
                raise Refused(reasons.sentence("no_such_user"), code="no_such_user")
            ended, account.sessions = account.sessions, 0
            host.ended_sessions += ended
            return ended

    @contextmanager
    def lifeline(self, manager: Manager, *, timeout: float) -> Iterator[None]:
        """As `Connector.lifeline`."""
        with self._host.lock:
            self._become_root(manager)
        self._holds_lifeline = True
        try:
            yield
        finally:
            self._holds_lifeline = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """As `Connector.shared`."""
        self._shares = True
        try:
            yield
        finally:
            self._shares, self._let_in = False, None

    def _become_root(self, manager: Manager) -> None:
        """Raise what a root shell would; over a connection that is open, without another login."""
        host = self._host
        if not self._holds_lifeline:
            is_cut = host.unreachable or host.host_key_changed or host.refuses_login
            if self._let_in is not manager.login or is_cut:
                self._let_in = None
                host.log_in(manager)
                self._let_in = manager.login if self._shares else None
        elif self._host.unreachable or self._host.cuts_lifelines:
            raise Unreachable
        self._host.become_root(manager)

    def _edit(
        self,
        manager: Manager,
        username: str,
        public_key: str,
        fence: Fence,
        allowed: Collection[str],
        *,
        is_added: bool,
    ) -> None:
        if not words.is_username(username):
            raise Refused(reasons.sentence("bad_user"), code="bad_user")
        if not words.is_public_key(public_key):
            raise Refused(reasons.sentence("bad_key_line"), code="bad_key_line")
        host = self._host
        with host.lock:
            self._become_root(manager)
            self._refuse(username, fence, Kind.KEY, allowed)
            if host.drops_before_set:
                raise Unreachable
            if host.half_line:
                raise Unknown
            account = host.accounts[username]
            account.key_generations = {fence.console_id: fence.generation}
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
        if not public_half(private):
            return _unclear("bad_key")
        if not host.lists(username, private):
            return Proof(Verdict.REJECTED, Level.LOGIN)
        account = host.accounts.get(username, MemoryAccount(""))
        if problem := self._problem(username, Kind.KEY):
            return _unclear("broken_login" if problem == "expired" else problem)
        if not account.runs_commands:
            return Proof(Verdict.ACCEPTED, Level.LOGIN, reasons.sentence("login_only"))
        return Proof(Verdict.ACCEPTED, Level.COMMAND)

    def _problem(self, username: str, kind: Kind) -> str:
        """A locked or empty password stands in the way of passwords only."""
        problem = self._host.problem(username)
        if kind == Kind.KEY:
            if problem in ("locked", "empty_password"):
                return ""
            return "must_change_first" if problem == "must_change" else problem
        return problem

    def _refuse(self, username: str, fence: Fence, kind: Kind, allowed: Collection[str]) -> None:
        host = self._host
        if host.is_busy:
            raise Busy
        problem = self._problem(username, kind)
        generations: dict[str, int] = {}
        if username in host.accounts:
            account = host.accounts[username]
            generations = account.key_generations if kind == Kind.KEY else account.generations
        refused = "" if host.refuses == "policy" else host.refuses
        for code in filter(None, (problem, self._foreign(generations, fence.console_id), refused)):
            if code not in allowed:
                raise Refused(reasons.sentence(code), code=code)
        if fence.generation < generations.get(fence.console_id, 0):
            raise Stale

    def _foreign(self, generations: dict[str, int], console_id: str) -> str:
        return "foreign_console" if any(key != console_id for key in generations) else ""


class MemoryScanner:
    """Host keys of simulated hosts, as `Scanner`: `keys` by address; any other address is unreachable."""

    def __init__(self, keys: dict[str, tuple[HostKey, ...]]) -> None:
        self._keys = keys

    def scan(self, endpoint: Endpoint, *, timeout: float) -> tuple[HostKey, ...]:
        """As `Scanner.scan`."""
        try:
            return self._keys[endpoint.address]
        except KeyError:
            raise Unreachable from None


def _unclear(word: str) -> Proof:
    return Proof(Verdict.UNCLEAR, reason=reasons.sentence(word), code=word)
