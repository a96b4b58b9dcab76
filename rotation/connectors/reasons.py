"""What every reason means that a run may end or wait with: one row for each code.

A row holds all of it: the sentence that says what was found, the step that comes next and the page for it,
and what a run does about it. Each wire keeps the rows of what it alone can report, in a table beside its
connector; here stand those that any wire may report. A code that has no row is a bug.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class Heard(enum.Flag):
    """From which of the programs that run on a host this word is believed; a host may say anything."""

    NOTHING = 0
    ANY = enum.auto()  # every one that may refuse
    ACCOUNT = enum.auto()  # those that look at an account, for its password
    KEYS = enum.auto()  # ... for its keys, and for where the host looks for them
    CHANGE = enum.auto()  # the one that sets a password
    PROBE = enum.auto()  # those that try one


@dataclass(frozen=True)
class Advice:
    """One next step, and where: `instance`, `credential`, `secret` or nowhere."""

    text: str
    target: str = ""
    actions: tuple[str, ...] = ()  # what it names beside a retry, for a page to offer: `rotate`, `reconcile`
    asks: str = ""  # what else it has a user do who may: `rebind`, or `retry` where it would pass by itself


@dataclass(frozen=True)
class Override:
    """What letting this pass for one run means, for a person to read before and afterwards."""

    label: str
    sentence: str  # of the check that is a warning then
    title: str
    does: str
    does_not: str


@dataclass(frozen=True)
class Reason:
    """Everything that is known of one code."""

    code: str  # for states, logs and interfaces; never text from a host
    sentence: str  # what was found and what to do next; {} stands for a name that the caller fills in
    advice: Advice
    waits: bool = False  # it passes without action: the run is put off; otherwise a person must act first
    is_away: bool = False  # ... and is what a host gives that is away or slow
    stops: bool = False  # no answer of the host is believed until a person has done something there
    keeps_apart: bool = False  # a wait between two failed logins, which no request shortens
    of_account: bool = False  # of one account: the instance itself is in order
    heard: Heard = Heard.NOTHING
    override: Override | None = None  # for what may be let pass: nothing is lost by it

    @property
    def label(self) -> str:
        """The code in words, for a badge."""
        return self.code.replace("_", " ")


Table = Mapping[str, Reason]


def table(*rows: Reason) -> Table:
    """Return the rows by their codes. Raises `ValueError` for a code that stands twice."""
    by_code = {row.code: row for row in rows}
    if len(by_code) != len(rows):
        raise ValueError("a code stands twice")
    return MappingProxyType(by_code)


def heard(rows: Table, of: Heard) -> frozenset[str]:
    """Return the codes that are believed from any of these programs."""
    return frozenset(code for code, row in rows.items() if row.heard & of)


LOGIN: Final = Advice(
    "Check that the management account exists on the instance and accepts this credential, then test the "
    "connection.",
    "credential",
)
ACCOUNT: Final = Advice("Correct the account on the instance, then retry.", "instance")
SERVER: Final = Advice("Correct this on the instance, then retry.", "instance", asks="retry")
OTHER_VALUE: Final = Advice(
    "Choose another value, or let Keyturn generate one, in Rotate Immediately.", "secret", ("rotate",)
)
AGAIN: Final = Advice(
    "Choose Retry: the next run first checks which value works on the instance.", asks="retry"
)
PASSES: Final = Advice("This is temporary; Keyturn continues automatically.")
NOTHING: Final = Advice("")
GENERAL: Final = Advice("Check the result in the steps below, then retry.")

#: What stands in the way of giving the new value to one that runs as the account.
_DEPENDANT: Final = Advice(
    "Correct this on the instance, then choose Retry failed items on the secret's page.",
    "instance",
)

COMMON: Final = table(
    Reason(
        "accepts_anything",
        "The instance accepts a random wrong password too, so its answers prove nothing.",
        Advice("Find out why the instance accepts any password before you trust its answers.", "instance"),
        stops=True,
        heard=Heard.PROBE,
    ),
    Reason(
        "bad_user",
        "The account name is not a portable POSIX name of at most 32 characters.",
        Advice("Create the secret again with the account's right name.", "secret"),
        of_account=True,
    ),
    Reason(
        "bad_value",
        "The password is empty, longer than 511 bytes, or holds a line break or NUL.",
        OTHER_VALUE,
    ),
    Reason(
        "broken_login",
        "The connection ended instead of an answer to the login. PAM's account rules (pam_access, "
        "/etc/nologin, an expired account) and a network that breaks look alike.",
        ACCOUNT,
    ),
    Reason(
        "busy",
        "Another change of this account holds the lock on the instance; nothing has changed now.",
        PASSES,
        waits=True,
    ),
    Reason(
        "changing",
        "Another change of this account is in progress on the instance.",
        PASSES,
        heard=Heard.PROBE,
    ),
    Reason(
        "dependant_denied",
        "The management account may not change it.",
        _DEPENDANT,
    ),
    Reason(
        "dependant_gone",
        "It is not there any more, or runs as another account.",
        Advice("Deselect it under Dependants of the secret if it is not needed any more.", "secret"),
    ),
    Reason(
        "dependant_in_use",
        "It has the current value, and was not restarted: other services that depend on it are running.",
        _DEPENDANT,
    ),
    Reason(
        "dependant_not_started",
        "It has the current value, and did not start again.",
        _DEPENDANT,
    ),
    Reason(
        "dependant_not_stopped",
        "It has the current value, and did not stop in time, so it was not restarted.",
        _DEPENDANT,
    ),
    Reason(
        "dependant_refused",
        "The instance refused to give it the value.",
        _DEPENDANT,
    ),
    Reason(
        "empty_password",
        "The account has an empty password, so that any value would seem right. Set one first.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT,
    ),
    Reason("error", "The instance did not complete the request; the steps show what is known.", GENERAL),
    Reason(
        "forbidden_address",
        "Keyturn does not connect to this address and port: only to those in KEYTURN_ALLOWED_NETWORKS, and "
        "to none of its own services.",
        Advice(
            "Edit the instance's address, or have the address allowed in Keyturn's configuration.",
            "instance",
        ),
    ),
    Reason(
        "foreign_console",
        "Another console manages this account. Remove its mark in /var/lib/keyturn on the instance once "
        "it no "
        "longer does.",
        Advice(
            "Decide which console manages this account. If it is this one, remove the other one's mark on "
            "the instance, or Override and rotate.",
            "instance",
        ),
        of_account=True,
        heard=Heard.ANY,
        override=Override(
            "Another console's mark",
            "Another console manages this account, and this run takes it over. The mark of the other "
            "one stays "
            "in /var/lib/keyturn: it will be refused from now on, and so will later runs of this console "
            "until that mark is removed.",
            "Another console manages this account",
            "This console sets its own mark beside the other one's and changes the credential. The other "
            "console does not hear of it: its stored value stops working, and its next rotation changes it "
            "again.",
            "The other console's mark on the instance is not removed, and nothing is sent to that console.",
        ),
    ),
    Reason(
        "host_key_changed",
        "The instance shows a key that is not pinned; nothing was sent to it, no login was attempted.",
        Advice(
            "Compare the new key's fingerprint on the instance itself, and approve it on the instance's "
            "page. "
            "If the instance was not reinstalled or moved, find out first who answers at its address.",
            "instance",
        ),
    ),
    Reason(
        "late",
        "The instance took too long, and dropped the change before it was applied.",
        PASSES,
        waits=True,
        is_away=True,
    ),
    Reason("lifeline", "The session that was kept open has ended; no other was opened in its place.", AGAIN),
    Reason(
        "locked",
        "The account has no usable password (locked, or key only). Setting one would unlock it.",
        Advice(
            "Unlock the account on the instance if it is meant to have a password; a rotation does not.",
            "instance",
        ),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT,
    ),
    Reason(
        "login_only",
        "The login works; the account runs no command there.",
        Advice("Give the account a login shell that runs commands, then retry.", "instance"),
    ),
    Reason(
        "login_refused", "The instance refused the management credential; nothing on it has changed.", LOGIN
    ),
    Reason(
        "must_change",
        "The account must change its password at the next login; a rotation would clear that flag.",
        Advice(
            "Change the password on the instance, or let the rotation clear the demand: Override and rotate.",
            "instance",
        ),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT,
        override=Override(
            "Password change at the next login",
            "The account must change its password at the next login; this run sets a new one, and that "
            "clears the demand.",
            "The account must change its password at the next login",
            "The requirement to change the password at the next login is cleared: the new value works "
            "immediately, and users of the account are not asked for another one.",
            "No other setting of the account is changed.",
        ),
    ),
    Reason("no_answer", "The connection ended, or the instance did not answer in time.", PASSES),
    Reason(
        "no_credential",
        "The management credential holds neither a password nor a private key.",
        Advice("Attach a management credential to the instance.", "instance"),
    ),
    Reason(
        "no_reason_given",
        "The instance refused the login without a reason: the password may be wrong or have to be changed, "
        "or the account may be locked, disabled, expired or not allowed to log on over the network.",
        ACCOUNT,
    ),
    Reason(
        "no_such_user",
        "There is no such account on the instance.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.KEYS,
    ),
    Reason(
        "not_local",
        "The account comes from a directory and not from the instance's own files.",
        Advice("Rotate this account in the directory that it comes from.", "secret"),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.KEYS,
    ),
    Reason(
        "not_offered",
        "The instance does not accept this kind of credential for this account.",
        Advice("Allow this kind of login for the account in the instance's sshd configuration.", "instance"),
    ),
    Reason(
        "own_account",
        "This is the account that Keyturn connects with; a session stays open until the new value is proven.",
        Advice("Nothing has to be done about this."),
    ),
    Reason(
        "own_session",
        "Keyturn itself works in a session of this account, so its sessions are not ended.",
        Advice("Turn off ending sessions for this secret: Keyturn itself works there.", "secret"),
    ),
    Reason(
        "policy",
        "The instance's password rules rejected the value.",
        Advice(
            "Compare the instance's password rules with the secret's password policy, then retry.", "secret"
        ),
        heard=Heard.CHANGE,
    ),
    Reason(
        "refused",
        "The instance will not make this change, and nothing on it has changed.",
        Advice("The message above is the reason that the instance gave. Correct it, then retry.", "instance"),
    ),
    Reason(
        "stale",
        "The instance has already seen a newer generation than this one; nothing has changed now.",
        PASSES,
        waits=True,
    ),
    Reason(
        "timeout",
        "The instance's password program did not end in time; it was stopped and nothing has changed.",
        SERVER,
        waits=True,
        heard=Heard.CHANGE,
    ),
    Reason(
        "too_long_to_check",
        "The instance's own check may not read a value of this length whole.",
        Advice("Shorten the length in the secret's password policy, then rotate.", "secret"),
    ),
    Reason(
        "unknown",
        "The session broke after the change was sent: the old or the new value may be valid now.",
        AGAIN,
        waits=True,
    ),
    Reason(
        "unreachable",
        "The instance could not be reached, and nothing on it has changed.",
        Advice(
            "Check that the instance runs, that its address and port are right, and that no firewall is "
            "between.",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason("unsure", "The instance is not sure whether the change was applied.", AGAIN),
)

#: What the lines of a checklist are about, whichever way they end.
LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "account": "Account",
        "command": "Command",
        "expired": "Expired",
        "fence": "Guard against late changes",
        "foreign_console": "Foreign console",
        "generation": "Generation",
        "host_key": "Host key",
        "local": "Local account",
        "locked": "Locked",
        "login": "Login",
        "must_change": "Must change",
        "own_account": "Own account",
        "password_login": "Password login",
        "reachable": "Reachable",
    }
)

#: Checks that a user with the right to do so can override for one run: that loses nothing.
OVERRIDABLE: Final = frozenset(code for code, row in COMMON.items() if row.override)


def sentence(code: str) -> str:
    """What to show for a reason that any wire may report. Raises `KeyError` for a code that has none."""
    return COMMON[code].sentence
