"""The contract between the engine and the code that changes credentials on hosts.

Plain values in, plain values out: a connector knows no Django, no database and no secret by name.
Every call is bounded by `timeout` seconds of monotonic time, connecting included, closes what it
opened, and pins the host key before it authenticates.

What a connector raises is what is now known about the host, nothing more. The engine decides what
that means for the rotation.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rotation.connectors.networks import DEFAULT, Networks
from rotation.connectors.reasons import OVERRIDABLE as OVERRIDABLE
from secrets_app.crypto.plaintext import Plaintext


class ConnectorError(Exception):
    """The instance did not complete the request; the steps show what is known."""

    #: The code of a `Reason`, for the state and the screen, e.g. `host_key_changed`.
    code: str = "error"

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])
        if code:
            self.code = code


class Unreachable(ConnectorError):
    """The instance could not be reached, and nothing on it has changed.

    `code` may be narrower: `late` where the deadline came first, or what keeps a connection from being made.
    """

    code = "unreachable"


class HostKeyChanged(ConnectorError):
    """The instance shows a key that is not pinned; nothing was sent to it, no login was attempted.

    A wire whose hosts show something else than a key gives its own code and sentence.
    """

    code = "host_key_changed"


class LoginRefused(ConnectorError):
    """The instance refused the management credential; nothing on it has changed.

    `code` may be narrower: what is wrong with that credential or its account.
    """

    code = "login_refused"


class Refused(ConnectorError):
    """The instance will not make this change, and nothing on it has changed.

    `code` names the reason a person can act on. `policy` alone says that another value may be taken.
    """

    code = "refused"


class Stale(ConnectorError):
    """The instance has already seen a newer generation than this one; nothing has changed now."""

    code = "stale"


class Busy(ConnectorError):
    """Another change of this account holds the lock on the instance; nothing has changed now."""

    code = "busy"


class Unknown(ConnectorError):
    """The session broke after the change was sent: the old or the new value may be valid now."""

    code = "unknown"


class Sudo(enum.StrEnum):
    """How the management account becomes root."""

    NONE = "none"  # it is root
    PASSWORDLESS = "passwordless"  # sudoers says NOPASSWD
    PASSWORD = "password"  # sudo asks, and the sudo password is stored


@dataclass(frozen=True)
class Peer:
    """What is connected to, and where that may be."""

    address: str  # a name or an IP address
    port: int
    networks: Networks = field(default=DEFAULT, kw_only=True)  # where it may be, once its name is resolved


@dataclass(frozen=True)
class Endpoint(Peer):
    """Where a host is, and which of its keys are trusted."""

    host_keys: tuple[str, ...] = ()  # pinned, as in known_hosts: "ssh-ed25519 AAAAC3..."
    wire: str = field(kw_only=True)  # what is spoken there, as the table of wires names it


@dataclass(frozen=True)
class Login:
    """One account and what proves it. At least one of the two values is set."""

    username: str
    password: Plaintext | None = None
    private_key: Plaintext | None = None  # OpenSSH or PEM, not encrypted
    by_kerberos: bool = False  # as an account `user@REALM` of a domain


@dataclass(frozen=True)
class Manager:
    """The account that Keyturn works as on a host, and its way to root."""

    login: Login
    sudo: Sudo = Sudo.NONE
    sudo_password: Plaintext | None = None


@dataclass(frozen=True)
class HostKey:
    """A public host key that a host has shown."""

    algorithm: str  # "ssh-ed25519", or "x509" for a certificate
    blob: str  # base64 of the public key, as in known_hosts, or of the certificate
    fingerprint: str  # as the host's own tools print it: "SHA256:..." by ssh-keygen -l, without padding

    @property
    def line(self) -> str:
        """As `Endpoint.host_keys` wants it."""
        return f"{self.algorithm} {self.blob}"


class Identity(enum.StrEnum):
    """By what a host shows that it is the same one."""

    HOST_KEY = "host_key"
    CERTIFICATE = "certificate"
    NAME = "name"  # a claim, which keeps a wrong address from a login

    @property
    def changed(self) -> str:
        """The code of the reason that another one is shown than the one that is pinned."""
        return _CHANGED[self]


_CHANGED = {
    Identity.HOST_KEY: "host_key_changed",
    Identity.CERTIFICATE: "certificate_changed",
    Identity.NAME: "name_changed",
}


class Kind(enum.StrEnum):
    """What a change is about; one account may have both, each with a fence of its own."""

    PASSWORD = "password"
    KEY = "key"


@dataclass(frozen=True)
class Fence:
    """Which attempt a change belongs to, so that an old one cannot overwrite a newer one."""

    console_id: str  # UUID of this installation; names the folder on the host
    generation: int  # grows with every attempt; the host refuses a lower one


class Level(enum.StrEnum):
    """How a value was shown to work, from weakest to strongest."""

    HASH = "hash"  # the host's own password check (unix_chkpwd, or a logon on a Windows host itself)
    LISTED = "listed"  # the public key stands in a file that sshd reads for the account; no login
    LOGIN = "login"  # a new connection authenticated
    COMMAND = "command"  # ... and ran a command


class Verdict(enum.StrEnum):
    """The three answers to: does this value work?"""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCLEAR = "unclear"  # the question could not be put, or the answer could not be believed


@dataclass(frozen=True)
class Proof:
    """The answer, how it was reached, and why it is unclear where it is."""

    verdict: Verdict
    level: Level | None = None
    reason: str = ""  # one sentence, safe to show; no value and no raw host output
    code: str = ""  # of a `Reason`: `accepts_anything`, `truncates`, `locked`, ...
    control: str = ""  # of a change: what stood behind the host's check as it refused all that it must refuse

    @property
    def is_listed(self) -> bool:
        """Whether the host reads a file that holds the key; its line may still forbid a login from here."""
        return self.level == Level.LISTED and self.verdict != Verdict.REJECTED


class Mark(enum.StrEnum):
    """The outcome of one line of the preflight checklist."""

    PASSED = "passed"
    WARNING = "warning"  # shown; does not stop a rotation
    BLOCKED = "blocked"  # a rotation must not start
    UNKNOWN = "unknown"  # could not be determined; does not stop a rotation


@dataclass(frozen=True)
class Check:
    """One line of the preflight checklist."""

    name: str  # `reachable`, `host_key`, `login`, `sudo`, `account`, `local`, `locked`, `expired`, ...
    mark: Mark
    sentence: str  # what was found and, where blocked, what to do; safe to show
    code: str = ""  # for one that is blocked, or would be but for an override: as `Refused.code`
    of_account: bool = field(
        default=False, compare=False
    )  # of the account that was asked about, not the host
    keys: tuple[str, ...] = field(
        default=(), compare=False
    )  # of the dependants that it names: `service:Backup`


#: So many dependants of one account are listed.
MOST_DEPENDANTS = 100


@dataclass(frozen=True)
class Dependant:
    """Something on a host that runs as an account and keeps its password on its own."""

    kind: str  # `service`, `task` or `pool`
    name: str  # as the host has it: of a task with its folder
    is_running: bool = False

    @property
    def key(self) -> str:
        """By which a list and a form name it."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Updated:
    """What came of giving a dependant the account's password: it has it, whatever `code` says."""

    restarted: bool = False
    code: str = ""  # of a `Reason`: why it was not restarted although it should be


@dataclass(frozen=True)
class Facts:
    """What the host says of itself and of one account; reads only, nothing was changed."""

    checks: tuple[Check, ...] = field(default_factory=tuple)
    generation: int = 0  # the fence's number on the host, 0 where there is none
    machine_id: str = ""  # /etc/machine-id, or Windows' MachineGuid; empty where there is none
    os_name: str = ""  # PRETTY_NAME of /etc/os-release, or the caption of Windows
    accounts: tuple[str, ...] = ()  # local accounts that could be managed, for the form's suggestions
    password_login: bool = True  # a login with a password shows that it works; under sshd, it runs commands
    fenced: bool = True  # one change at a time, and none that is late
    is_slow: bool = False  # to make a hash of a password may take it seconds
    dependants: tuple[Dependant, ...] = ()  # at most MOST_DEPENDANTS
    more_dependants: int = 0  # that there are beside them
    unasked: frozenset[str] = frozenset()  # kinds of dependants that the host did not list

    @property
    def blocked(self) -> Check | None:
        """The first check that forbids a rotation."""
        return next((c for c in self.checks if c.mark == Mark.BLOCKED), None)


@dataclass(frozen=True)
class Traces:
    """What an account's credential looks like from outside, for comparison from day to day.

    Read through the management account; no login is made and no value is sent. A `mark` is the SHA-256,
    in hex, of the console's id, a NUL, and what it marks: the hash field of /etc/shadow, or the files in
    which sshd finds the account's keys, one after the other. It says whether something changed, and
    nothing about what it was.
    """

    mark: str = ""  # empty where it could not be read
    changed_on: int | None = None  # days since 1970-01-01, as /etc/shadow has it
    generation: int = 0  # the fence's number on the host; 0 where there is none
    problem: str = (
        ""  # why no login with it can succeed: `locked`, `expired`, `must_change`, `no_such_user`, ...
    )


class Looks(Protocol):
    """What a host and its accounts look like; reads only."""

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
        """Look at the host and, where `username` is given, at that account; change nothing.

        `kind` is what will be changed: a locked password stands in the way of a password only, and a
        key file that cannot be edited in the way of a key only. `public_key` is the one that the account
        has now; where it stands, and with which options, is looked at as well. What would be blocked for
        a reason in `allowed`, some of `OVERRIDABLE`, is a warning that says so.

        Never raises for what it finds: an unreachable host or a refused login is a blocked check.
        `Unreachable`, `HostKeyChanged` and `LoginRefused` become checks with those codes.
        """
        ...

    def trace(
        self, manager: Manager, username: str, *, kind: Kind, console_id: str, timeout: float
    ) -> Traces:
        """Read the account's traces; reads only, sends no value, makes no login.

        Raises `Unreachable`, `HostKeyChanged`, `LoginRefused`, or `Refused` where no root shell is to be had.
        """
        ...


class Logins(Protocol):
    """Whether a value lets its account in."""

    def prove_login(self, login: Login, *, timeout: float) -> Proof:
        """Log in on a new connection with `login` alone and run a command that repeats a nonce.

        One authentication attempt, by one method. `ACCEPTED` carries the level reached.
        `REJECTED` only when the host said that the credential is wrong; a lock, an expiry or a broken
        connection is `UNCLEAR` with a reason. Raises `Unreachable` or `HostKeyChanged`.
        """
        ...


@runtime_checkable
class Passwords(Protocol):
    """How an account's password is changed, and asked for."""

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
        """Give `username` the password `new` on this host.

        `new` is not empty, holds no CR, LF or NUL (a newline would end the record in chpasswd(8)
        and change another account), and is at most 511 bytes in UTF-8 (PAM's limit); anything else raises
        `Refused(code="bad_value")` before a connection is made. A reason in `allowed`, some of
        `OVERRIDABLE`, does not make the host refuse.

        Returns once the host has reported, with this call's nonce, that the change was applied. The result
        is what `probe_password` would answer for the new value: the host runs its own check right after the
        change. It is None if the host has no such check. A host that lies about one may lie about the other.
        With `login_follows` the host need not ask: a login with the value is tried next, and asks the same
        check. It is left out only where both tests below are.

        The host's yes is evidence only if its check refuses a random value, which is tried before anything is
        changed (`Refused(code="accepts_anything")`), and a part of the new value. Both tests are left out if
        `controlled` is the `Proof.control` of an earlier change and the programs behind the check (sshd, PAM,
        libc) are unchanged since; the caller decides how long a control stays valid. A host that cannot
        identify these programs gives no control, and both tests run each time.
        Raises `Unreachable`, `HostKeyChanged`, `LoginRefused`, `Refused`, `Stale` or `Busy` when
        nothing on the host has changed, and `Unknown` when the session broke, or the answer could
        not be believed, after the value had left.
        """
        ...

    def probe_password(
        self, manager: Manager, username: str, password: Plaintext, *, timeout: float
    ) -> Proof:
        """Ask the host, through the management account, whether `password` is right.

        That counts as no login. On a host that can only try one, a wrong value counts, so it is not asked
        where one more would lock the account.

        Never raises for the host's state: if the check cannot run, or a change of the password (`changing`)
        takes longer than the host waits for it, the verdict is `UNCLEAR` with a reason. A host that also
        accepts a random value (`accepts_anything`), or `password` without its last character (`truncates`: an
        old hash that covers only the first characters), is not believed: `UNCLEAR` with that code.
        Raises `Unreachable`, `HostKeyChanged` or `LoginRefused` when the host could not be asked at all.
        """
        ...


@runtime_checkable
class Keys(Protocol):
    """How an account's public keys are changed, and asked for."""

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
    ) -> Proof | None:
        """Let `username` log in with `public_key` too; every other line of the file stays as it is.

        Both keys are a type and its base64, without options and comment; anything else raises
        `Refused(code="bad_key_line")` before a connection is made. Beside each line of `like`, in
        each file, there is one with the same options and comment afterwards. Where `like` is empty or stands
        nowhere, a key that is nowhere either gets one line of its own.

        Returns once the host has reported the change. The result is what `probe_key` would answer now if no
        line of the new key keeps logins out, or None if the host did not say where the key stands. Raises
        as `set_password` does.
        """
        ...

    def remove_key(
        self, manager: Manager, username: str, public_key: str, *, fence: Fence, timeout: float
    ) -> None:
        """Take every line with `public_key` out of the files that sshd reads for `username`.

        A key that is not there is nothing to do. Raises as `add_key` does.
        """
        ...

    def probe_key(self, manager: Manager, username: str, public_key: str, *, timeout: float) -> Proof:
        """Ask whether `public_key` stands in a file that sshd reads for `username`; makes no login.

        `ACCEPTED` has `Level.LISTED`: whether sshd takes the key, only a login shows. Never raises for the
        host's state, and raises as `probe_password` does.
        """
        ...


@runtime_checkable
class Sessions(Protocol):
    """What an account has open."""

    def end_sessions(self, manager: Manager, username: str, *, timeout: float) -> int:
        """End what `username` has open by SSH on this host, with everything that runs in it; return how many.

        Its services and scheduled jobs are left alone, and so is every session of another account. Raises
        `Refused(code="own_session")` for the management account itself, and otherwise as `trace`.
        """
        ...


@runtime_checkable
class Dependants(Protocol):
    """What on a host runs as an account and keeps its password on its own."""

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
        """Give `dependant` the password that `username` has already. To repeat that is harmless.

        With `restarts` it is stopped and started again where it runs, and started where
        `dependant.is_running` says that it ran before. Only what runs as `username` is given the value, and
        nothing with a generation below the host's own for the account's password.

        Raises `Refused` with one of the codes `dependant_...` or a reason of the account's, `Stale`, `Busy`
        and `Unreachable` where it was given nothing, and `Unknown` where the answer is missing.
        """
        ...


@runtime_checkable
class Lifelines(Protocol):
    """How an account changes the credential that it works with."""

    def lifeline(self, manager: Manager, *, timeout: float) -> AbstractContextManager[None]:
        """Keep a session as `manager` open; until the block ends, calls with a `Manager` go through it.

        For an account that changes its own credential: this session stays logged in even if the change
        fails. `prove_login` still makes a new connection. `timeout` is for opening the session; raises as
        `trace`. A lifeline that breaks is not replaced: the calls then raise `Unreachable`.
        """
        ...


@runtime_checkable
class Sharing(Protocol):
    """How the calls of one run share what is costly to open."""

    def shared(self) -> AbstractContextManager[None]:
        """Until the block ends, calls with the same `Manager.login` go over one connection.

        The first call opens the connection. If it turns out to be dead before a call has sent anything, the
        call replaces it within its own timeout. If it breaks later, the call raises as it would without
        sharing, and the next call opens another. `prove_login` still makes a connection of its own, and a
        lifeline is never replaced.
        """
        ...


class Target(Looks, Logins, Protocol):
    """One host, with the least that every wire can do; any of the other parts comes with it or does not.

    The engine asks for the part that it needs, and a run that needs one which is missing is refused before
    the host is told anything. Not shared between threads.
    """


class Connector(Target, Passwords, Keys, Sessions, Lifelines, Sharing, Protocol):
    """One host, with all that the engine may ask of it."""


class Scanner(Protocol):
    """Asks a host for its public keys, before any is trusted; sends no credential."""

    def scan(self, endpoint: Endpoint, *, timeout: float) -> tuple[HostKey, ...]:
        """Every host key the host shows, strongest first, pinned or not. Raises `Unreachable`."""
        ...
