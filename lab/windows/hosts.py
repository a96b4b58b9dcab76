"""What is true on one simulated Windows host: accounts, password rules, services, registry, and its logons.

Modelled from Microsoft's documents (MS-SAMR, MS-ERREF, the WinNT provider of ADSI). No answer of a
real Windows has confirmed it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from lab.windows.ntlm import nt_hash
from lab.windows.records import Record

# MS-ERREF: Win32 error codes of a logon.
LOGON_FAILURE, DISABLED, LOCKED, EXPIRED, MUST_CHANGE, NO_NETWORK_LOGON = 1326, 1331, 1909, 1793, 1907, 1385
# NERR_PasswordTooShort, NERR_UserNotFound, and STATUS_CONTROLLED_BY_LAPS as an HRESULT.
POLICY_REFUSED, NO_SUCH_USER, LAPS_REFUSED, ACCESS_DENIED = 0x800708C5, 0x800708AD, 0xC000A08B, 0x80070005
_MARKS: Final = "SOFTWARE\\Keyturn"


@dataclass
class Account:
    """A local account. A logon is compared with `password`, or with `kept_hash` where only that is known."""

    name: str
    password: str = field(repr=False)
    rid: int
    is_admin: bool = False
    is_enabled: bool = True
    is_locked: bool = False
    must_change: bool = False
    never_expires: bool = False
    expires: datetime | None = None
    full_name: str = ""
    set_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    bad_attempts: int = 0
    bad_at: float = 0.0  # monotonic
    network_logon: bool = True
    kept_hash: str = field(default="", repr=False)  # of an account that was read from a file

    @property
    def nt_hash(self) -> bytes:
        """What Windows keeps of its password."""
        return bytes.fromhex(self.kept_hash) if self.kept_hash else nt_hash(self.password)

    def has_password(self, password: str) -> bool:
        """Whether this is its password."""
        return nt_hash(password) == self.nt_hash if self.kept_hash else password == self.password

    def set_password(self, password: str) -> None:
        """Give it another one."""
        self.password, self.kept_hash = password, ""

    @property
    def state(self) -> tuple[object, ...]:
        """All of it but the password and what follows from one: a rotation leaves this as it is."""
        kept = (self.name, self.rid, self.is_admin, self.is_enabled, self.is_locked, self.must_change)
        return (*kept, self.never_expires, self.expires, self.full_name, self.network_logon)


@dataclass
class Dependant:
    """A service, a scheduled task or an application pool that runs as an account and keeps its password."""

    kind: str  # `service`, `task` or `pool`
    name: str  # of a task with its folder: `\\Nightly\\Backup`
    account: str  # as Windows writes it: `.\\svc`, `WIN-LAB\\svc` or `svc`
    password: str = field(default="", repr=False)
    is_running: bool = False
    logon: int = 1  # of a task, as TASK_LOGON_TYPE has it: 1 keeps a password, 3 and 5 do not
    identity: str = "SpecificUser"  # of a pool
    # Faults
    is_denied: bool = False  # to administrators too
    is_needed: bool = False  # by another service that runs
    hangs: bool = False  # it does not stop
    fails_to_start: bool = False  # for a reason of its own
    stops: int = 0
    starts: int = 0


@dataclass
class Rules:
    """The password and lock-out policy of a host."""

    length: int = 0
    complexity: bool = True
    history: int = 24
    threshold: int = 10  # wrong passwords until the account is locked; 0 never
    window: int = 600  # seconds


class WindowsHost:
    """A simulated host. Faults and counters are its attributes; an armed fault happens once."""

    def __init__(self, name: str = "WIN-LAB") -> None:
        self.name = name
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.rules = Rules()
        self.dependants: list[Dependant] = []
        self.has_task_commands = True  # the module ScheduledTasks, since Windows Server 2012
        self.has_iis = False
        self.unasked: set[str] = set()  # kinds of dependants that cannot be listed
        self.registry: dict[str, dict[str, object]] = {}
        self.mutexes: dict[str, object] = {}
        self.is_controller = False
        self.has_local_accounts = True  # the module Microsoft.PowerShell.LocalAccounts, since 5.1
        self.language_mode = "FullLanguage"
        self.record = Record()
        self.refuses_values = False  # whatever the value, by the rules of the host
        self.is_broken_check = False  # the host's own check of a value throws
        self.lies = False  # says that it set the value, and does not
        self.accepts_anything = False
        self.logons: list[tuple[str, int]] = []  # user and outcome of every logon that was judged
        self.resets: list[str] = []  # accounts whose password was set, in order
        self.shell_quota = 30
        self.clock_seconds = 0.0  # by which its clock is ahead
        self.has_ntlm = True  # WinRM offers it, and the host's rules allow it
        self.keytab = ""  # the file with its key in a domain; empty for a host that takes no Kerberos
        self.forgets_logons = False  # of connections, as where a ticket has expired
        self.named_certificate = b""  # that its tickets have to name, in DER; empty for the one that it shows
        self.hides_itself = False  # takes a ticket and does not answer with its own
        self.domain_admins: set[str] = set()  # accounts of the domain, `user@REALM`, that are administrators
        self.start_seconds = 0.0  # that PowerShell needs before it runs a script; a real one about 1.5
        self.before_set: threading.Event | None = None  # a set waits for it
        self.on_change: Callable[[], None] = lambda: None  # of a password or the registry; under the lock
        self.set_key("SOFTWARE\\Microsoft\\Cryptography", MachineGuid=str(uuid.uuid4()))

    # -- arrange --------------------------------------------------------------------------------

    def add_account(self, name: str, password: str, *, is_admin: bool = False, rid: int = 0) -> Account:
        """Add a local account."""
        account = Account(name, password, rid or 1000 + len(self.accounts), is_admin)
        self.accounts[name.lower()] = account
        return account

    def add_dependant(self, kind: str, name: str, account: str, **fields: object) -> Dependant:
        """Add what runs as an account, with the password that the account has now."""
        owner = self.account_of(account)
        made = Dependant(kind, name, account, owner.password if owner else "", **fields)  # type: ignore[arg-type]
        self.dependants.append(made)
        self.has_iis |= kind == "pool"
        return made

    def set_key(self, path: str, **values: object) -> None:
        """Put values under HKEY_LOCAL_MACHINE; every key above is there then too."""
        parts = path.split("\\")
        for depth in range(1, len(parts) + 1):
            self.registry.setdefault("\\".join(parts[:depth]).lower(), {})
        self.registry[path.lower()] |= {name.lower(): value for name, value in values.items()}
        self.on_change()

    def manage_by_laps(self, name: str = "") -> None:
        """Have Windows LAPS manage this account, or the built-in Administrator."""
        path = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\LAPS"
        self.set_key(path, BackupDirectory=1, AdministratorAccountName=name)

    def snapshot(self) -> tuple[dict[str, str], dict[str, dict[str, object]]]:
        """Keep the passwords and the registry, as a snapshot of the machine does."""
        with self.lock:
            passwords = {name: account.password for name, account in self.accounts.items()}
            return passwords, {path: dict(values) for path, values in self.registry.items()}

    def revert(self, snapshot: tuple[dict[str, str], dict[str, dict[str, object]]]) -> None:
        """Go back to a snapshot."""
        with self.lock:
            for name, password in snapshot[0].items():
                self.accounts[name].set_password(password)
                self.accounts[name].set_at = datetime.now(UTC) - timedelta(days=1)
            self.registry = {path: dict(values) for path, values in snapshot[1].items()}

    # -- see --------------------------------------------------------------------------------------

    def accepts(self, name: str, password: str) -> bool:
        """Whether this is the account's password: no logon, nothing counted."""
        account = self.accounts.get(name.lower())
        return account is not None and account.has_password(password)

    def generation(self, console: str, name: str) -> int:
        """The number that a console has left for an account."""
        found = self.registry.get(f"{_MARKS}\\{console}".lower(), {}).get(f"{name}.password".lower(), 0)
        assert isinstance(found, int)
        return found

    def failed_logons(self, name: str) -> int:
        """How many logons of this account were refused for any reason."""
        return sum(user == name.lower() and code != 0 for user, code in self.logons)

    # -- what Windows does ------------------------------------------------------------------------

    def account_of(self, username: str) -> Account | None:
        """The local account that is meant by `HOST\\user`, `.\\user`, `user@host` or `user`."""
        domain, _, name = username.rpartition("\\")
        if "@" in name:
            name, _, domain = name.partition("@")
        if domain.lower() not in ("", ".", self.name.lower()):
            return None
        return self.accounts.get(name.lower())

    def is_administrator(self, username: str) -> bool:
        """Whether this account may do everything here, be it local or of the domain."""
        account = self.account_of(username)
        return username in self.domain_admins or (account is not None and account.is_admin)

    def log_on(self, username: str, is_right: bool) -> int:
        """Judge a network logon; count it, and lock the account where the rules say so. 0 is a success."""
        with self.lock:
            account = self.account_of(username)
            code = self._judge(account, is_right or self.accepts_anything)
            self.logons.append(((account.name if account else username).lower(), code))
            self.record.add("event 4625" if code else "event 4624", username)
            if account is not None and code == LOGON_FAILURE:
                if time.monotonic() - account.bad_at > self.rules.window:
                    account.bad_attempts = 0
                account.bad_attempts += 1
                if self.rules.threshold and account.bad_attempts >= self.rules.threshold:
                    account.is_locked = True
                    self.record.add("event 4740", username)
                account.bad_at = time.monotonic()
            elif account is not None and code == 0:
                account.bad_attempts = 0
            return code

    def start(self, dependant: Dependant) -> bool:
        """Start what depends on an account: a logon with the password that it keeps."""
        with self.lock:
            owner = self.account_of(dependant.account)
            if dependant.fails_to_start:
                return False
            if owner is not None and self.log_on(dependant.account, owner.password == dependant.password):
                return False
            dependant.is_running = True
            dependant.starts += 1
            return True

    def stop(self, dependant: Dependant) -> None:
        """Have it stop, which one that hangs never does."""
        with self.lock:
            if not dependant.hangs:
                dependant.stops += dependant.is_running
                dependant.is_running = False

    def _judge(self, account: Account | None, is_right: bool) -> int:
        if account is None:
            return LOGON_FAILURE
        if account.is_locked:
            return LOCKED
        if not is_right:
            return LOGON_FAILURE
        if not account.is_enabled:
            return DISABLED
        if account.expires is not None and account.expires <= datetime.now(UTC):
            return EXPIRED
        if account.must_change:
            return MUST_CHANGE
        return 0 if account.network_logon else NO_NETWORK_LOGON

    def reset(self, name: str, password: str) -> int:
        """Set a password as an administrator; return 0 or an HRESULT. Unlocks and enables nothing."""
        if self.before_set is not None:
            self.before_set.wait(60)
        with self.lock:
            account = self.accounts.get(name.lower())
            if account is None:
                return NO_SUCH_USER
            if self._is_laps(account):
                return LAPS_REFUSED
            if self.refuses_values or not self._is_allowed(account, password):
                return POLICY_REFUSED
            self.record.add("event 4724", account.name)
            if not self.lies:
                account.set_password(password)
                account.set_at = datetime.now(UTC)
                account.must_change = False
                self.resets.append(account.name)
                self.on_change()
            return 0

    def _is_laps(self, account: Account) -> bool:
        path = "software\\microsoft\\windows\\currentversion\\policies\\laps"
        laps = self.registry.get(path, {})
        if not laps.get("backupdirectory"):
            return False
        named = str(laps.get("administratoraccountname", ""))
        return named.lower() == account.name.lower() if named else account.rid == 500

    def _is_allowed(self, account: Account, password: str) -> bool:
        """MS-SAMR 3.1.1.7.2: length, three of five classes, no part of the name. History is not checked."""
        if len(password) < self.rules.length or len(password) > 127:
            return False
        if not self.rules.complexity:
            return True
        classes = (str.isupper, str.islower, str.isdigit, lambda c: not c.isalnum())
        met = sum(any(test(c) for c in password) for test in classes)
        parts = [account.name, *account.full_name.replace("-", " ").replace("_", " ").split()]
        return met >= 3 and not any(len(p) > 2 and p.lower() in password.lower() for p in parts)
