"""The sentences for what a host refuses, by the word that names the reason.

One list for every connector, so that a checklist, an error and a run's page say the same. Each says what
was found and what to do next. A word that is not here is a bug.
"""

from __future__ import annotations

import re

from rotation.connectors.base import Sudo

_SENTENCES = {
    "accepts_anything": "The host accepts a random wrong password too, so its answers prove nothing.",
    "aged": "The password is older than the host allows; a rotation renews it.",
    "bad_key": "The private key is not an unencrypted Ed25519, ECDSA or RSA key.",
    "bad_key_line": "The public key is not one line of a type and its base64.",
    "bad_user": "The account name is not a portable POSIX name of at most 32 characters.",
    "bad_value": "The password is empty, longer than 511 bytes, or holds a line break or NUL.",
    "broken_login": "The connection ended instead of an answer to the login; the account may be expired.",
    "busy_sshd": "The host's sshd takes no more connections just now (MaxStartups, or PerSourcePenalties "
    "after failed logins).",
    "changed": "Somebody else changed the key file at the same moment.",
    "changing": "Another change of this account is under way on the host.",
    "checker_failed": "The host's own password check failed without a verdict.",
    "disk": "/etc or /var/lib on the host is full or read-only. Free some space there.",
    "empty_password": "The account has an empty password, so that any value would seem right. Set one first.",
    "expired": "The account has expired. Extend it with chage -E; a rotation does not.",
    "fence": "The generation mark on the host holds no number. Look at /var/lib/keyturn there.",
    "forced_command": "The host runs another command in place of ours (a forced command, or a shell that "
    "runs none).",
    "forbidden_address": "Keyturn does not connect to this address and port: only to those in "
    "KEYTURN_ALLOWED_NETWORKS, and to none of its own services.",
    "foreign_console": "Another console manages this account. Remove its mark in /var/lib/keyturn on "
    "the host once it no longer does.",
    "foreign_console_allowed": "Another console manages this account, and this run takes it over. The mark "
    "of the other stays in /var/lib/keyturn: it will be refused from now on, and so will later runs of this "
    "console until that mark is removed.",
    "immutable": "{} is marked immutable or append-only on the host. Take the mark away with chattr -ia.",
    "key_disk": "The file system that holds the key file is full. Free some space there.",
    "keys_elsewhere": "sshd does not take this account's keys from a file (AuthorizedKeysFile), so none can "
    "be added there.",
    "late": "The host took too long, and dropped the change before it was applied.",
    "lifeline": "The session that was kept open has ended; no other was opened in its place.",
    "locked": "The account has no usable password (locked, or key only). Setting one would unlock it.",
    "locked_without_pam": "The account is locked, and this sshd (UsePAM no) then takes no key either. Put "
    "a * in place of the ! in /etc/shadow.",
    "login_only": "The login works; the account runs no command there.",
    "manager_expired": "The management account has expired. Extend it with chage -E.",
    "manager_must_change": "The management account must change its own password before it may run a command.",
    "more_wanted": "The host took the credential and asks for a second factor.",
    "must_change": "The account must change its password at the next login; a rotation would clear "
    "that flag.",
    "must_change_allowed": "The account must change its password at the next login; this run sets a new one, "
    "and that clears the demand.",
    "must_change_first": "The account's password must be changed before sshd runs a command for it, after "
    "a login with a key too. Change it, or end the demand with chage.",
    "no_answer": "The connection ended, or the host did not answer in time.",
    "no_awk": "The host has no awk, by which key files are read.",
    "no_checker": "The host has no unix_chkpwd, so a password can only be tried by a login.",
    "no_chpasswd": "The host has no chpasswd.",
    "no_credential": "The management credential holds neither a password nor a private key.",
    "no_home": "The account's home is not there; it may not be mounted.",
    "no_public_keys": "sshd lets nobody in with a key here (PubkeyAuthentication no).",
    "no_restorecon": "SELinux is in use and the host has no restorecon, so the key file may lose its label.",
    "no_sshd_answer": "The host's sshd did not tell where it looks for keys (sshd -T).",
    "no_ssh": "No SSH server answered at the instance's address and port: nothing listens there, what "
    "listens is no SSH server, or a firewall is between.",
    "no_such_user": "There is no such account on the host.",
    "no_sudo": "sudo is not installed on the host, and the management account is not root.",
    "not_local": "The account comes from a directory and not from the host's own files.",
    "not_offered": "The host does not accept this kind of credential for this account.",
    "not_root": "The management account is not root, and no sudo is set for it.",
    "odd_file": "The key file holds something other than lines of text; it was left as it is.",
    "own_account": "This is the account that Keyturn connects with; a session stays open until the new "
    "value is proven.",
    "own_session": "Keyturn itself works in a session of this account, so its sessions are not ended.",
    "path": "The key file is reached by a link, or through a folder, that is not the account's own. Put a "
    "plain file there.",
    "policy": "The host's password rules rejected the value.",
    "script": "The shell on the host stopped before it answered.",
    "sessions_left": "Some of the account's sessions did not end. Look at them with ps on the host.",
    "shell": "The host's sh has no printf of its own, so a value could be seen in the list of processes.",
    "strict_modes": "sshd passes over the key file, because others than the account may write to it, to its "
    "folder or to the home (StrictModes). Run chmod go-w on them.",
    "sudo": "sudo asks for a password and none is stored. Store it, or allow the account all commands "
    "with NOPASSWD.",
    "sudo_log": "sudo records what it reads, new passwords included. Exempt the management account: "
    "Defaults:NAME !log_input.",
    "sudo_not_allowed": "The sudoers file does not let the management account run a root shell.",
    "sudo_password": "The stored sudo password is wrong, or sudo refused it.",
    "sudo_terminal": "sudo wants a terminal (requiretty). Exempt the management account from it.",
    "timeout": "The host's password program did not end in time; it was stopped and nothing has changed.",
    "too_long_to_check": "The host's own check may not read a value of this length whole.",
    "truncates": "The host accepts the value without its last character too: its password hash is an old one "
    "that reads only so much. Set ENCRYPT_METHOD to a newer one there.",
    "unfenced": "The host lacks flock or timeout, so a late change cannot be kept out there.",
    "unreadable": "The account itself may not read its key file or the folder that holds it.",
    "unsure": "The host is not sure whether the change was applied.",
    "unwritable": "The account may not change its key file, or it belongs to somebody else. Give it back "
    "to the account.",
    "weak_ssh": "The host offers no SSH algorithms that are still safe (OpenSSH 7.2 or newer has them).",
}

#: What may be wrong with an account, so that its password is not changed.
ACCOUNT_PROBLEMS = frozenset(
    ("no_such_user", "not_local", "empty_password", "locked", "expired", "must_change")
)

#: What may be wrong with an account's keys, or with where sshd looks for them.
KEY_PROBLEMS = frozenset(
    (
        "changed",
        "expired",
        "keys_elsewhere",
        "locked_without_pam",
        "must_change_first",
        "no_awk",
        "no_home",
        "no_public_keys",
        "no_sshd_answer",
        "no_such_user",
        "not_local",
        "odd_file",
        "path",
        "strict_modes",
        "unreadable",
        "unwritable",
    )
)

#: Free space below which a host is taken for full.
LOW_KILOBYTES = 1024

_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{32,6000}={0,2}")
# POSIX's portable characters, no leading hyphen or dot, and a final $ as Samba's machine accounts have it.
_USERNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,31}|[A-Za-z0-9_.-]{0,30}\$)")
_MAX_VALUE_BYTES = 511  # PAM_MAX_RESP_SIZE less its final NUL


def sentence(word: str) -> str:
    """What to show for a reason. Raises `KeyError` for a word that has none."""
    return _SENTENCES[word]


def root_sentence(sudo: Sudo) -> str:
    """How the management account came to be root."""
    return {
        Sudo.NONE: "The management account is root.",
        Sudo.PASSWORDLESS: "The management account can run a root shell by sudo, which does not ask.",
        Sudo.PASSWORD: "The management account can run a root shell by sudo, with the stored password.",
    }[sudo]


def size(kilobytes: int) -> str:
    """A number of kilobytes as people read it."""
    if kilobytes < 10 * 1024:
        return f"{kilobytes} KB"
    if kilobytes < 10 * 1024 * 1024:
        return f"{kilobytes // 1024} MB"
    return f"{kilobytes // 1024 // 1024} GB"


def is_username(name: str) -> bool:
    """Whether this can be the name of a local account; anything else is never sent to a host."""
    return _USERNAME.fullmatch(name) is not None


def is_value(text: str) -> bool:
    """Whether this can be set as a password: a line break would end chpasswd's record and start another."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size_bytes <= _MAX_VALUE_BYTES and not any(c in text for c in "\r\n\0")


def is_public_key(text: str) -> bool:
    """Whether this is a key as a line of authorized_keys has it, with nothing before and nothing behind."""
    return _PUBLIC_KEY.fullmatch(text) is not None
