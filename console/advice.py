"""What to do next, for every reason that a run may end or wait with.

The reason itself is a sentence of the connector or the engine; this is the step after it, and the page
on which it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Advice:
    """One next step, and where: `instance`, `credential`, `secret` or nowhere."""

    text: str
    target: str = ""


_KEY: Final = Advice(
    "Compare the new key's fingerprint on the server itself, and approve it on the instance's page. "
    "If nobody has reinstalled or moved the server, find out first who answers at its address.",
    "instance",
)
_ROOT: Final = Advice(
    "Run the command that prepares a server once more on it, or correct its sudoers file, then test the "
    "connection.",
    "credential",
)
_LOGIN: Final = Advice(
    "Check that the management account exists on the server and accepts this credential, then test the "
    "connection.",
    "credential",
)
_ACCOUNT: Final = Advice("Put the account right on the server, then retry.", "instance")
_SERVER: Final = Advice("Put this right on the server, then retry.", "instance")
_VALUE: Final = Advice("Choose another value, or let Keyturn generate one.", "secret")
_AGAIN: Final = Advice("Rotate again: it begins by asking the server which value works.", "secret")
_DRIFTED: Final = Advice(
    "Reconcile sets the current value again; Rotate makes a new one. Find out first who changed it there.",
    "secret",
)
_PASSES: Final = Advice("This passes by itself; Keyturn goes on when it has.")

NOTHING: Final = Advice("")
GENERAL: Final = Advice("Look at the steps below for what was found, then retry.")

BY_CODE: Final[dict[str, Advice]] = {
    # The way to the server.
    "unreachable": Advice(
        "Check that the server runs, that its address and port are right, and that no firewall is between.",
        "instance",
    ),
    "host_key_changed": _KEY,
    "record_changed": Advice(
        "Compare the record with the instance, have it accepted on the server with manage.py audit accept, "
        "and retry.",
        "instance",
    ),
    "no_host_key": Advice("Scan the host key, compare it and approve it.", "instance"),
    "weak_ssh": Advice("Update OpenSSH on the server to 7.2 or newer.", "instance"),
    "late": _PASSES,
    "busy": _PASSES,
    "changing": _PASSES,
    "busy_sshd": _PASSES,
    "stale": _PASSES,
    "unfenced": _PASSES,
    "lifeline": _AGAIN,
    "unknown": _AGAIN,
    "sealed": Advice("An administrator puts the root key back; nothing has to be started again."),
    # The management account.
    "login_only": Advice("Give the account a login shell that runs commands, then retry.", "instance"),
    "no_credential": Advice("Attach a management credential to the instance.", "instance"),
    "login_refused": _LOGIN,
    "bad_key": _LOGIN,
    "more_wanted": Advice("Exempt the management account from the second factor on the server.", "instance"),
    "manager_expired": Advice("Extend the management account on the server with chage -E.", "instance"),
    "manager_must_change": Advice("Change the management account's own password on the server.", "instance"),
    "sudo": _ROOT,
    "forced_command": Advice(
        "Remove the forced command from the management account's key or sshd configuration.", "instance"
    ),
    "no_sudo": _ROOT,
    "not_root": _ROOT,
    "sudo_not_allowed": _ROOT,
    "sudo_password": Advice(
        "Create a management credential with the right sudo password, and attach it.", "instance"
    ),
    "sudo_terminal": _ROOT,
    "script": _SERVER,
    "shell": _SERVER,
    # The server.
    "disk": _SERVER,
    "key_disk": _SERVER,
    "immutable": _SERVER,
    "no_restorecon": _SERVER,
    "sudo_log": Advice(
        "Exempt the management account on the server: Defaults:NAME !log_input in its sudoers file.",
        "credential",
    ),
    "sessions_left": Advice("End what is left of the account's sessions on the server.", "instance"),
    "no_chpasswd": _SERVER,
    "no_checker": _SERVER,
    "checker_failed": _SERVER,
    "timeout": _SERVER,
    "fence": _SERVER,
    "foreign_console": Advice(
        "Decide which console manages this account. If it is this one, remove the other one's mark on the "
        "server, or Rotate all the same.",
        "instance",
    ),
    "accepts_anything": Advice(
        "Find out why the server lets any password in before you trust one of its answers.", "instance"
    ),
    "truncates": Advice(
        "Have the server hash passwords with yescrypt or SHA-512 (ENCRYPT_METHOD, pam_unix), then rotate.",
        "instance",
    ),
    "no_answer": _PASSES,
    "error": GENERAL,
    "foreign_console_allowed": Advice(
        "Take the account out of the other console, so that the two do not change it in turn.", "instance"
    ),
    # The managed account.
    "no_such_user": _ACCOUNT,
    "not_local": Advice("Rotate this account in the directory that it comes from.", "secret"),
    "empty_password": _ACCOUNT,
    "locked": Advice(
        "Unlock the account on the server if it is meant to have a password; a rotation does not.", "instance"
    ),
    "expired": _ACCOUNT,
    "must_change": Advice(
        "Change the password on the server, or let the rotation clear the demand: Rotate all the same.",
        "instance",
    ),
    "aged": Advice("Rotate: that renews the password.", "secret"),
    "must_change_allowed": Advice("Nothing has to be done about this."),
    "own_account": Advice("Nothing has to be done about this."),
    "own_session": Advice("Turn off ending sessions for this secret: Keyturn itself works there.", "secret"),
    "broken_login": _ACCOUNT,
    "not_offered": Advice(
        "Allow this kind of login for the account in the server's sshd configuration.", "instance"
    ),
    "bad_user": Advice("Create the secret again with the account's right name.", "secret"),
    # The account's key file, and where sshd looks for it.
    "changed": _PASSES,
    "keys_elsewhere": _SERVER,
    "locked_without_pam": _ACCOUNT,
    "must_change_first": _ACCOUNT,
    "no_awk": _SERVER,
    "no_home": Advice("Mount or create the account's home on the server, then retry.", "instance"),
    "no_public_keys": _SERVER,
    "no_sshd_answer": Advice("Run sshd -T on the server as root and put right what it names.", "instance"),
    "odd_file": _ACCOUNT,
    "path": _ACCOUNT,
    "strict_modes": _ACCOUNT,
    "unreadable": _ACCOUNT,
    "unwritable": _ACCOUNT,
    "key_refused": Advice(
        "Create a secret with another key algorithm, or allow this one in the server's sshd.", "instance"
    ),
    "old_key_works": Advice(
        "Find out on the server what else accepts the old key (AuthorizedKeysCommand, a certificate), and "
        "remove it there.",
        "instance",
    ),
    "shared_account": Advice(
        "Let the instance log in with a secret of its own, or attach another credential; then rotate.",
        "instance",
    ),
    "shared_key": Advice("Attach another management credential to the instance, then rotate.", "instance"),
    # The value.
    "policy": Advice(
        "Compare the server's password rules with the secret's password policy, then retry.", "secret"
    ),
    "bad_value": _VALUE,
    "bad_key_line": _VALUE,
    "too_long_to_check": Advice("Shorten the length in the secret's password policy, then rotate.", "secret"),
    "refused": Advice("The sentence above is the server's reason. Put it right, then retry.", "instance"),
    "failed": _SERVER,
    "no_value": Advice("Rotate once: that makes the first value.", "secret"),
    "refused_value": _AGAIN,
    "unclear": Advice("Test the instance's connection: it says what stands in the way.", "instance"),
    "unverified": _AGAIN,
    "unsure": _AGAIN,
    "unfinished": _AGAIN,
    "old_works": Advice(
        "Find out on the server what else accepts the old password, and change it there.", "instance"
    ),
    "login_failed": Advice(
        "Find out why the server refuses the login although the value is right: sshd's AllowUsers, PAM.",
        "instance",
    ),
    "refused_login": Advice(
        "Find out why the server refuses the login although the value is right: sshd's AllowUsers, PAM.",
        "instance",
    ),
    # What a person decided.
    "gone": Advice("Read what you still need, then delete the secret.", "secret"),
    "set_aside": Advice("Wait for the verification, or rotate.", "secret"),
    # Drift.
    "changed_outside": _DRIFTED,
    "snapshot": _DRIFTED,
    "database_older": Advice(
        "If a newer backup of the database exists, put it back instead. Else reconcile, or rotate.", "secret"
    ),
    "restored": Advice("Acknowledge the restore under Audit; the run then goes on by itself."),
    "untrue": Advice(
        "Look on the server for what undoes the change: configuration management, or a directory.", "instance"
    ),
    "attempts": _AGAIN,
    "gave_up": Advice("Read the worker's log for this run's id, then retry."),
}


def on(code: str) -> Advice:
    """Return the next step for a reason; a general one for a reason that has none of its own."""
    return BY_CODE.get(code, GENERAL)
