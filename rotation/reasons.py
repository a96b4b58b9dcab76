"""The reasons that the engine itself gives, and the table of all reasons by code.

The wires have tables of their own. This module joins them, so that the engine or a screen finds everything
about a code in one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rotation import wires
from rotation.connectors import base, reasons
from rotation.connectors.reasons import AGAIN, GENERAL, PASSES, Advice, Override, Reason, Table

DRIFTED: Final = Advice(
    "Reconcile sets the current value again; Rotate Immediately makes a new one. Find out first who changed "
    "it there.",
    "secret",
    ("reconcile", "rotate"),
)
REFUSED: Final = Advice(
    "Reconcile sets the current value on the instance; Rotate Immediately makes a new one. Retry only asks "
    "the instance again.",
    "secret",
    ("reconcile", "rotate"),
)
MISSED: Final = Advice(
    "If a later run has not rotated the secret, choose Rotate Immediately.", "secret", ("rotate",)
)

ENGINE: Final = reasons.table(
    Reason("attempts", "The instance did not take the new value in five attempts.", AGAIN),
    Reason(
        "budget",
        "The new value is current. The old password is tried when five minutes have passed.",
        PASSES,
        keeps_apart=True,
    ),
    Reason("changed_outside", "The credential was changed outside Keyturn.", DRIFTED),
    Reason(
        "dependants",
        "{} of {} dependants failed: {}. Each of them says why.",
        Advice(
            "Correct on the instance what they name, then choose Retry failed items on the secret's page.",
            "secret",
        ),
    ),
    Reason(
        "database_older",
        "The database is older than the instance, which was given a newer value since.",
        Advice(
            "If a newer backup of the database exists, put it back instead. Otherwise choose Reconcile or "
            "Rotate Immediately.",
            "secret",
            ("reconcile", "rotate"),
        ),
    ),
    Reason(
        "gave_up",
        "Stopped after many attempts; see Keyturn's log.",
        Advice("Read the worker's log for this run's id, then retry."),
    ),
    Reason(
        "journal_away",
        "The credential journal cannot be written, so no instance is told a new value.",
        Advice("An administrator makes its place available again; the run then continues automatically."),
    ),
    Reason(
        "gone",
        "{} stated that the instance no longer exists.",
        Advice("Read what you still need, then delete the secret.", "secret"),
    ),
    Reason(
        "key_disabled",
        "The key that this needs is disabled: until it is enabled again, nothing opens under it.",
        Advice("Have the key enabled under Keys, then retry."),
    ),
    Reason(
        "key_refused",
        "The instance refuses the key although it stands in its key file, on a line whose options let it "
        "in. Its algorithm or length may not be allowed there (PubkeyAcceptedAlgorithms, RequiredRSASize), "
        "or something outside the key file refuses the account (AllowUsers, PAM, SELinux).",
        Advice(
            "Read why in the log of the instance's sshd. For its algorithm: allow it there, or create a "
            "secret with another one.",
            "instance",
        ),
    ),
    Reason(
        "key_unusable",
        "The key that this needs is destroyed or is about to be: nothing opens or is sealed under it.",
        Advice("Have the destruction of the key cancelled under Keys if there is still time, then retry."),
    ),
    Reason(
        "login_failed",
        "A login with the new value failed, so Keyturn gave its own login the old value again. Look at the "
        "instance's settings for this account (Linux: sshd and PAM; Windows: the right to log on over the "
        "network), then rotate.",
        Advice(
            "Find out why the instance refuses the login although the value is right (Linux: sshd's "
            "AllowUsers, PAM; Windows: the right to log on over the network).",
            "instance",
        ),
    ),
    Reason(
        "missed_changed",
        "The schedule was changed, paused or turned off after the date had passed, and no rotation had "
        "started by then.",
        MISSED,
    ),
    Reason(
        "missed_down",
        "No rotation was started in time. Keyturn, its scheduler or its database was stopped or not "
        "reachable, or an older database was restored and not acknowledged.",
        MISSED,
    ),
    Reason(
        "missed_queued",
        "The rotation for this date was still queued when the next date came: {}",
        Advice(
            "Check that a worker runs, and whether other work on the instance goes before it.",
            "instance",
        ),
    ),
    Reason(
        "missed_running",
        "The rotation for this date had not ended when the next date came: {}",
        MISSED,
    ),
    Reason(
        "missed_waiting",
        "The rotation for this date was still waiting when the next date came: {}",
        Advice(
            "Correct what the rotation waits for; it then continues automatically.",
            "instance",
        ),
    ),
    Reason(
        "no_host_key",
        "No {0} of this instance is approved. Scan the {0}, compare, and approve it.",
        Advice("Scan what the instance shows, compare it and approve it.", "instance"),
    ),
    Reason(
        "no_login",
        "Set and accepted by the instance's own check; logging on is refused: {}",
        Advice(
            "If the account is meant to log on over the network, correct what keeps it out (Linux: PAM's "
            "rules for sshd, a second factor, /etc/nologin, sshd's own lists; Windows: the user rights).",
            "instance",
        ),
    ),
    Reason(
        "not_shown",
        "Set and accepted by the instance's own check, which is all that could be shown: {}",
        Advice("Log on with the value once, then correct what the message above names.", "instance"),
    ),
    Reason(
        "no_value",
        "There is no value yet. Rotate once.",
        Advice("Rotate Immediately makes the first value.", "secret", ("rotate",)),
    ),
    Reason(
        "old_key_works",
        "It is out of its file, and the instance accepts it from somewhere else.",
        Advice(
            "Find out on the instance what else accepts the old key (AuthorizedKeysCommand, a certificate), "
            "and remove it there.",
            "instance",
        ),
    ),
    Reason(
        "old_works",
        "The new value is current, but the instance accepts the old password too. Look for another "
        "place that "
        "passwords are checked in (PAM, a directory), and rotate again.",
        Advice(
            "Find out on the instance what else accepts the old password, and change it there.", "instance"
        ),
    ),
    Reason(
        "other_machine",
        "This is not the machine on which the account's value was proven; no value was sent to it.",
        Advice(
            "Compare the machine on the instance's page with the instance itself. If it is right, choose "
            "Rebind on the secret's page, then rotate. If not, put the instance's address and host key "
            "right again.",
            "secret",
            asks="rebind",
        ),
    ),
    Reason(
        "record_changed",
        "{} was changed outside Keyturn, so nothing is sent. Compare it with the instance, then accept it "
        "on the instance with manage.py audit accept.",
        Advice(
            "Compare the record with the instance, have it accepted on the instance with manage.py audit "
            "accept, and retry.",
            "instance",
        ),
    ),
    Reason(
        "refused_login",
        "The instance answers a login with the right password as if it were wrong. PAM's rules for sshd, a "
        "second factor, a lock-out, or another source of passwords can do that.",
        Advice(
            "Find out why the instance refuses the login although the value is right (Linux: sshd's "
            "AllowUsers, PAM; Windows: the right to log on over the network).",
            "instance",
        ),
        keeps_apart=True,
    ),
    Reason("refused_value", "The instance refuses the current value.", REFUSED),
    Reason(
        "region_full",
        "Waiting for a free slot: {} runs of this region are in progress, the most allowed.",
        PASSES,
    ),
    Reason(
        "restored",
        "An older database was restored, and not acknowledged yet: no value is sent to an instance.",
        Advice(
            "An administrator acknowledges the restore under Audit; the run then continues automatically."
        ),
    ),
    Reason(
        "sealed",
        "The root key is missing or is not the one that this database was sealed under.",
        Advice("An administrator puts the root key back; nothing has to be started again."),
    ),
    Reason(
        "set_aside",
        "{} stated that the pending value is not on the instance.",
        Advice("Wait for the verification, or choose Rotate Immediately.", "secret", ("rotate",)),
    ),
    Reason(
        "shared_account",
        "Keyturn works on this instance as {}, with the shared management credential {}. Let the instance "
        "log in with this secret, or attach another credential.",
        Advice(
            "Let the instance log in with a secret of its own, or attach another credential; then rotate.",
            "instance",
        ),
    ),
    Reason("snapshot", "The instance was set back to an older state, as from a snapshot.", DRIFTED),
    Reason(
        "unclear",
        "Could not check: {}",
        Advice("Test the instance's connection: it says what stands in the way.", "instance"),
    ),
    Reason(
        "taken_up",
        "The instance has the value of a rotation that was not finished; it is the current value now.",
        Advice("Nothing has to be done about this."),
    ),
    Reason(
        "reverted",
        "The key file was changed twice, and each time the change was gone at the next look: something on "
        "the instance puts the file back.",
        Advice(
            "Look on the instance for what writes the key file: configuration management, or a script.",
            "instance",
        ),
    ),
    Reason(
        "unfinished",
        "The instance has the value of a rotation that was not finished.",
        Advice("Rotate Immediately finishes it.", "secret", ("rotate",)),
    ),
    Reason(
        "unsupported",
        "Over {}, Keyturn cannot {}.",
        Advice("Create a secret of another kind for this account, and delete this one.", "secret"),
    ),
    Reason(
        "untrue",
        "The instance reports a change that it does not make.",
        Advice(
            "Look on the instance for what undoes the change: configuration management, or a directory.",
            "instance",
        ),
    ),
    Reason("unverified", "It is not known which value works: {}", AGAIN),
)

#: A wire that reaches the same hosts as another one reports the same.
_TABLES: Final[tuple[Table, ...]] = (
    reasons.COMMON,
    *(wire.reasons for wire in wires.TABLE.values() if wire.logs_in_as == wire.name),
    ENGINE,
)
ALL: Final = reasons.table(*(row for table in _TABLES for row in table.values()))

#: What the lines of a checklist are about, those of the engine included.
LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **reasons.LINES,
        **{name: label for wire in wires.TABLE.values() for name, label in wire.lines.items()},
        "control": "Control",
        "dependant": "Dependant",
        "other_secret": "Other secret",
        "login_now": "Login with the current value",
        "override": "Override",
        "own_login_current": "Own login current",
        "own_login_pending": "Own login pending",
        "snapshot": "Snapshot",
    }
)

#: Codes of waits that keep an account's failed logins apart.
BUDGETS: Final = frozenset(code for code, row in ALL.items() if row.keeps_apart)
#: Why one account cannot be managed; the instance itself is in order.
OF_ACCOUNTS: Final = frozenset(code for code, row in ALL.items() if row.of_account)


def sentence(code: str, *names: object) -> str:
    """What to show for a reason, about these `names`. Raises `KeyError` for a code that has none."""
    return ALL[code].sentence.format(*names) if names else ALL[code].sentence


def waits(code: str) -> bool:
    """Whether this passes without action by a user."""
    return code in ALL and ALL[code].waits


def is_away(code: str) -> bool:
    """Whether a host gives this reason because it is away or slow."""
    return code in ALL and ALL[code].is_away


def is_said_by_root(code: str) -> bool:
    """Whether a program that runs as root on the host says this, so that the host can be asked more."""
    return code in ALL and code != "sudo" and bool(ALL[code].heard)


def is_about_identity(code: str) -> bool:
    """Whether it says that an instance shows another host key, certificate or name than the pinned one."""
    return code in {identity.changed for identity in base.Identity}


def stops(code: str) -> bool:
    """Whether no answer is to be believed until a person has done something on the host."""
    return code in ALL and ALL[code].stops


def advice(code: str) -> Advice:
    """Return the next step; a general one for the code of a row that an older version has written."""
    return ALL[code].advice if code in ALL else GENERAL


def override(code: str) -> Override | None:
    """Return what letting this pass means, where it may be."""
    return ALL[code].override if code in ALL else None


def label(code: str) -> str:
    """Return the reason in a few words, for a badge."""
    return ALL[code].label if code in ALL else code.replace("_", " ")


def line_label(name: str) -> str:
    """Return what a line of a checklist is about; one that ends in a reason may be named by its code."""
    return LINES[name] if name in LINES else label(name).capitalize()
