"""What a simulated host is: its accounts, the faults that are armed, and a log of what it was asked."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rotation.connectors.base import HostKeyChanged, LoginRefused, Manager, Refused, Sudo, Unreachable
from rotation.connectors.memory import reasons
from secrets_app.crypto.plaintext import Plaintext


def public_half(private: Plaintext) -> str:
    """Return the public half of a private key, or nothing where it is none that can be read."""
    raw = private.reveal().encode()
    for load in (serialization.load_ssh_private_key, serialization.load_pem_private_key):
        with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
            key = load(raw, None)
            if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
                return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return ""


@dataclass
class MemoryAccount:
    """An account of a simulated host; `problem` is one of `reasons.ACCOUNT_PROBLEMS`, or empty."""

    password: str = field(repr=False)
    problem: str = ""
    runs_commands: bool = True  # False: its shell is nologin
    generations: dict[str, int] = field(default_factory=dict)  # by console
    keys: list[str] = field(default_factory=list)  # each a line of authorized_keys, without options
    key_generations: dict[str, int] = field(default_factory=dict)
    sessions: int = 0  # that it has open
    salt: int = 0  # grows with every change of the password, the same one again included
    changed_on: int = 20_000  # days since 1970-01-01


@dataclass
class MemoryHost:
    """A simulated host: its accounts, the faults that are armed, and a log of what it was asked."""

    accounts: dict[str, MemoryAccount] = field(default_factory=dict)
    machine_id: str = ""
    sudo_asks_for: str = field(default="", repr=False)  # the management account's password; empty: NOPASSWD
    sudo_asks_own: bool = False  # ... as it is now, of an account that is in `accounts`

    # Before anything is sent: nothing changes.
    unreachable: bool = False
    host_key_changed: bool = False
    refuses_login: bool = False  # ... of the management account
    cuts_lifelines: bool = False  # ends every session that is kept open
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
    reads_only: int = 0  # characters of a password that count; 0: all of them
    no_checker: bool = False  # no unix_chkpwd
    refuses_new_passwords: bool = False  # sshd refuses a login with one that was never replaced
    accepts_logins_with: str = field(default="", repr=False)  # from a place that unix_chkpwd does not ask
    keeps_sessions: bool = False  # ending one gives no answer
    ignores_new_keys: bool = False  # sshd does not take a key that is added, for its algorithm
    keeps_keys: bool = False  # a removed key is still accepted, from another source
    drops_logins: bool = False  # ends every login's connection instead of answering

    # What it was asked.
    connections: int = 0
    sets: int = 0  # changes that were applied
    controls: int = 0  # of them, those with which it was asked whether its check can say no
    probes: int = 0
    removals: int = 0
    ended_sessions: int = 0
    replaced: list[str] = field(default_factory=list, repr=False)  # passwords that there were before
    ignored_keys: list[str] = field(default_factory=list)
    kept_keys: list[str] = field(default_factory=list)
    failed_logins: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def add_account(self, username: str, password: str) -> MemoryAccount:
        """Add a local account that works."""
        self.accounts[username] = MemoryAccount(password)
        return self.accounts[username]

    def shadow_accepts(self, username: str, password: str) -> bool:
        """Whether this is the account's password now: what is true on the host, without a connection."""
        with self.lock:
            account = self.accounts.get(username)
            length = self.reads_only or None
            return account is not None and account.password[:length] == password[:length]

    def lists(self, username: str, private: Plaintext) -> str:
        """Return the public half where sshd takes this key for the account now, or nothing."""
        public = public_half(private)
        account = self.accounts.get(username)
        if not public or account is None:
            return ""
        listed = public in account.keys and public not in self.ignored_keys
        return public if listed or public in self.kept_keys else ""

    @property
    def standing(self) -> str:
        """What its check of passwords stands on."""
        footing = f"{self.accepts_anything} {self.reads_only} {self.no_checker}"
        return hashlib.sha256(footing.encode()).hexdigest()

    def connect(self) -> None:
        """Raise what a connection would: `Unreachable` or `HostKeyChanged`."""
        if self.unreachable:
            raise Unreachable
        if self.host_key_changed:
            raise HostKeyChanged
        self.connections += 1

    def log_in(self, manager: Manager) -> None:
        """Raise what a login with the management account would: also `LoginRefused`."""
        self.connect()
        if self.refuses_login or not self._lets_in(manager):
            raise LoginRefused

    def become_root(self, manager: Manager) -> None:
        """Raise what a root shell for an account that is logged in would: `Refused`."""
        if self.runs_forced_command:
            raise Refused(reasons.sentence("forced_command"), code="forced_command")
        asked = self.sudo_asks_for
        if self.sudo_asks_own:
            asked = self.accounts[manager.login.username].password
        if not asked or manager.sudo == Sudo.NONE:
            return
        if manager.sudo == Sudo.PASSWORDLESS or not manager.sudo_password:
            raise Refused(reasons.sentence("sudo"), code="sudo")
        if manager.sudo_password.reveal() != asked:
            self.failed_logins += 1  # sudo asks PAM, which counts it like any other
            raise Refused(reasons.sentence("sudo_password"), code="sudo")

    def _lets_in(self, manager: Manager) -> bool:
        """Accounts that this host does not have are let in: most tests do not care who manages it."""
        login = manager.login
        if login.username not in self.accounts:
            return True
        if login.private_key and self.lists(login.username, login.private_key):
            return True
        if login.password and self.shadow_accepts(login.username, login.password.reveal()):
            return True
        self.failed_logins += bool(login.password)
        return False

    def problem(self, username: str) -> str:
        """The word for what is wrong with an account, or nothing."""
        return self.accounts[username].problem if username in self.accounts else "no_such_user"
