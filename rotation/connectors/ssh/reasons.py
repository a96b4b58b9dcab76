"""What each reason means that only a host with SSH, sudo and the files of Linux can give.

With the reasons of every wire these are all that the modules beside this one report.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rotation.connectors import reasons
from rotation.connectors.reasons import (
    ACCOUNT,
    LOGIN,
    OTHER_VALUE,
    PASSES,
    SERVER,
    Advice,
    Heard,
    Reason,
    Table,
)

ROOT: Final = Advice(
    "Run the command that prepares an instance on it again, or correct its sudoers file, then test the "
    "connection.",
    "credential",
)

SSH: Final = reasons.table(
    Reason(
        "aged",
        "The password is older than the instance allows; a rotation renews it.",
        Advice("Rotate: that renews the password.", "secret"),
    ),
    Reason("bad_key", "The private key is not an unencrypted Ed25519, ECDSA or RSA key.", LOGIN),
    Reason("bad_key_line", "The public key is not one line of a type and its base64.", OTHER_VALUE),
    Reason(
        "busy_sshd",
        "The instance's sshd takes no more connections just now (MaxStartups).",
        PASSES,
        waits=True,
        is_away=True,
    ),
    Reason(
        "changed",
        "The key file was changed by another program at the same moment.",
        PASSES,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "checker_failed",
        "The instance's own password check failed without a verdict.",
        SERVER,
        heard=Heard.PROBE,
    ),
    Reason(
        "disk",
        "/etc or /var/lib on the instance is full or read-only. Free some space there.",
        SERVER,
        heard=Heard.ANY,
    ),
    Reason(
        "expired",
        "The account has expired. Extend it with chage -E; a rotation does not.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.KEYS,
    ),
    Reason(
        "fence",
        "The generation mark on the instance holds no number. Look at /var/lib/keyturn there.",
        SERVER,
        heard=Heard.ANY,
    ),
    Reason(
        "forced_command",
        "The login worked, and the instance did not run Keyturn's command: a forced command, a shell that "
        "runs none, a start-up file of the account (such as .bashrc) that ends it, asks something or takes "
        "its place, or a limit on its processes (nproc in limits.conf) does that.",
        Advice(
            "Look for a forced command in the management account's key and sshd's configuration, and for its "
            "shell, start-up files and limits on the instance.",
            "instance",
        ),
    ),
    Reason(
        "immutable",
        "{} is marked immutable or append-only on the instance. Take the mark away with chattr -ia.",
        SERVER,
    ),
    Reason("key_disk", "The file system that holds the key file is full. Free some space there.", SERVER),
    Reason(
        "inactive",
        "The account's password expired, and the days in which it could still be changed at a login are over "
        "(chage -M and -I). A rotation does not let the account in again.",
        Advice(
            "Set a password of your own for the account on the instance as root, or correct its dates with "
            "chage, then retry.",
            "secret",
        ),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.KEYS,
    ),
    Reason(
        "key_authority",
        "The key's line is for certificates (cert-authority or principals=), so sshd accepts no login with "
        "the key itself.",
        ACCOUNT,
        of_account=True,
    ),
    Reason(
        "key_by_command",
        "The current key stands in no file that sshd reads; a program may name it (AuthorizedKeysCommand), "
        "with options that are not known. Put the key into a file, with the options that it is to have.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "key_expired",
        "The key's line has expired (expiry-time), so sshd accepts no login with the key. Correct the date.",
        ACCOUNT,
        of_account=True,
    ),
    Reason(
        "key_from",
        "The key's line accepts logins only from other addresses than Keyturn's (from=), so a new key could "
        "not be tested. Add Keyturn's address, as the instance sees it.",
        ACCOUNT,
        of_account=True,
    ),
    Reason(
        "key_line",
        "sshd passes over the key's line: it has an option that sshd does not know, or one twice.",
        ACCOUNT,
        of_account=True,
    ),
    Reason(
        "keys_blank",
        "sshd's AuthorizedKeysFile has a quote or a blank in a path, and which files it names could not be "
        "told.",
        SERVER,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "keys_elsewhere",
        "sshd does not take this account's keys from a file (AuthorizedKeysFile), so none can be added "
        "there.",
        SERVER,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "keyboard_only",
        "The instance takes a password only by keyboard-interactive (PasswordAuthentication no), which "
        "Keyturn does not use: the questions may ask for anything.",
        Advice(
            "Give the account a key pair, or set PasswordAuthentication yes for it in the instance's sshd "
            "configuration.",
            "instance",
        ),
    ),
    Reason(
        "locked_without_pam",
        "The account is locked, and this sshd (UsePAM no) then takes no key either. Put a * in place of the "
        "! in /etc/shadow.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "manager_broken",
        "The connection ended instead of an answer to the management account's login. PAM's account rules "
        "(pam_access, /etc/nologin, an expired account) and a network that breaks look alike.",
        Advice(
            "Look for /etc/nologin on the instance, and in its log of logins. If neither says why, check the "
            "network between Keyturn and the instance.",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "manager_expired",
        "The management account has expired. Extend it with chage -E.",
        Advice("Extend the management account on the instance with chage -E.", "instance"),
    ),
    Reason(
        "manager_must_change",
        "The management account must change its own password before it may run a command.",
        Advice("Change the management account's own password on the instance.", "instance"),
    ),
    Reason(
        "more_wanted",
        "The instance took the credential and asks for another one (AuthenticationMethods): a second factor, "
        "or a key or password that is not stored.",
        Advice(
            "Store both a key pair and a password in the management credential if the instance wants both, "
            "or exempt the management account there.",
            "instance",
        ),
    ),
    Reason(
        "must_change_first",
        "The account's password must be changed before sshd runs a command for it, after a login with a key "
        "too. Change it, or end the demand with chage.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "no_awk",
        "The instance has no awk, by which key files are read.",
        SERVER,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "no_checker",
        "The instance has no unix_chkpwd, so a password can only be tried by a login.",
        SERVER,
        heard=Heard.PROBE,
    ),
    Reason(
        "no_common",
        "There is no SSH algorithm in common with the instance. For {} it offers only {}, which Keyturn's "
        "SSH library does not have.",
        Advice(
            "Allow one more on the instance: Ciphers +aes256-gcm@openssh.com, KexAlgorithms "
            "+curve25519-sha256 or MACs +hmac-sha2-256-etm@openssh.com in its sshd configuration.",
            "instance",
        ),
    ),
    Reason(
        "no_session",
        "The login worked, and the instance then opened no session: a limit on logins (maxlogins in "
        "limits.conf), another session rule of PAM, or /etc/nologin does that.",
        Advice(
            "Look at /etc/security/limits.conf, /etc/nologin and the session lines of /etc/pam.d/sshd on the "
            "instance.",
            "instance",
        ),
    ),
    Reason("no_chpasswd", "The instance has no chpasswd.", SERVER),
    Reason(
        "no_home",
        "The account's home is not there: it may not be mounted now, or was never made.",
        Advice("Mount or create the account's home on the instance, then retry.", "instance"),
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "no_public_keys",
        "sshd accepts no login with a key here (PubkeyAuthentication no).",
        SERVER,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "no_restorecon",
        "SELinux is in use and the instance has no restorecon, so the key file may lose its label.",
        SERVER,
    ),
    Reason(
        "no_ssh",
        "No SSH server answered at the instance's address and port: nothing listens there, what listens is "
        "no SSH server, or a firewall is between.",
        Advice("Check that the address and port are those of its SSH server.", "instance"),
    ),
    Reason(
        "no_sshd_answer",
        "The instance's sshd did not tell where it looks for keys (sshd -T).",
        Advice("Run sshd -T on the instance as root and correct what it reports.", "instance"),
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason("no_sudo", "sudo is not installed on the instance, and the management account is not root.", ROOT),
    Reason(
        "no_tool",
        "The instance has no {} where programs usually stand (/usr/sbin, /usr/bin, /sbin, /bin); Keyturn's "
        "scripts need it. Nothing was changed.",
        Advice("Install the program that is named, then retry.", "instance"),
        heard=Heard.ANY,
    ),
    Reason("not_root", "The management account is not root, and no sudo is set for it.", ROOT),
    Reason(
        "not_shadowed",
        "/etc/passwd names the account, and its password is not one in /etc/shadow: the account has no line "
        "there, or the second field in /etc/passwd is not x.",
        Advice("Run pwconv on the instance as root, then retry.", "instance"),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.KEYS,
    ),
    Reason(
        "odd_file",
        "The key file holds something other than lines of text; it was left as it is.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "not_set",
        "The instance's password program failed and changed nothing. What it said names no rule for "
        "passwords: a PAM module that refuses without a reason, or one that could not write /etc/shadow, "
        "does that.",
        Advice(
            "Run chpasswd on the instance as root with a value of your own, read what it and the log say, "
            "then retry.",
            "instance",
        ),
        heard=Heard.CHANGE,
    ),
    Reason(
        "other_source",
        "Another source than the instance's own files answers first for this account (/etc/nsswitch.conf), "
        "so that a change of the files would not count.",
        Advice(
            "Compare getent passwd NAME with getent -s files passwd NAME on the instance, and keep one of "
            "the two accounts.",
            "instance",
        ),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT,
    ),
    Reason(
        "pam_broken",
        "A PAM module that the instance's password program needs is missing or failed, so no value was "
        "judged.",
        Advice("Correct the password lines of /etc/pam.d on the instance, then retry.", "instance"),
        heard=Heard.CHANGE,
    ),
    Reason(
        "path",
        "The key file is reached by a link, or through a folder, that is not the account's own. Put a plain "
        "file there.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "penalty",
        "The instance's sshd turns Keyturn's address away for a while, as it does after failed logins "
        "(PerSourcePenalties).",
        Advice(
            "This passes. So that it does not come again, set PerSourcePenaltyExemptList to Keyturn's "
            "address on the instance, and look in its log for what failed.",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "slow_login",
        "The instance did not answer the login in time.",
        Advice(
            "Find out on the instance what makes a login slow: PAM, name resolution, a directory.", "instance"
        ),
    ),
    Reason("script", "The shell on the instance stopped before it answered.", SERVER),
    Reason(
        "sessions_left",
        "Some of the account's sessions did not end. Look at them with ps on the instance.",
        Advice("End what is left of the account's sessions on the instance.", "instance"),
    ),
    Reason(
        "shadow_frozen",
        "/etc/shadow, /etc/nshadow or /etc is marked immutable or append-only on the instance.",
        Advice("Take the mark away on the instance with chattr -ia, then retry.", "instance"),
        heard=Heard.CHANGE,
    ),
    Reason(
        "shadow_lock",
        "Another program on the instance holds the lock on /etc/shadow.",
        PASSES,
        waits=True,
        heard=Heard.CHANGE,
    ),
    Reason(
        "shadow_mount",
        "/etc/shadow is a mount point on the instance, so that no other file can take its place.",
        Advice("Have the instance's own /etc/shadow in its place, then retry.", "instance"),
        heard=Heard.CHANGE,
    ),
    Reason(
        "slow_check",
        "One check of a password takes the instance longer than six seconds, so there was no verdict.",
        Advice("Lower the rounds of the password hash on the instance (pam_unix, login.defs).", "instance"),
        heard=Heard.PROBE,
    ),
    Reason(
        "shell",
        "The instance's sh has no printf of its own, so a value could be seen in the list of processes.",
        SERVER,
        heard=Heard.ANY,
    ),
    Reason(
        "sshd_unseen",
        "The key stands in none of the usual files, and with which configuration the instance's sshd runs "
        "could not be seen.",
        SERVER,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "strict_modes",
        "sshd passes over the key file, because others than the account may write to it, to its folder or "
        "to the home (StrictModes). Run chmod go-w on them.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "sudo",
        "sudo asks for a password and none is stored. Store it, or allow the account all commands with "
        "NOPASSWD.",
        ROOT,
        heard=Heard.ANY,
    ),
    Reason(
        "sudo_code",
        "sudo asks for something besides the password, such as a code.",
        Advice(
            "Exempt the management account on the instance from that question, by NOPASSWD or in "
            "/etc/pam.d/sudo.",
            "credential",
        ),
    ),
    Reason(
        "sudo_failed",
        "sudo started no root shell, and did not say that it wants a password: a sudoers file with a wrong "
        "owner or mode, PAM's rules for sudo, a plugin that fails, or secure_path without sh does that.",
        Advice(
            "Run sudo -n sh -c id on the instance as the management account, and correct what it says.",
            "credential",
        ),
    ),
    Reason(
        "sudo_log",
        "sudo records what it reads, new passwords included. Exempt the management account: Defaults:NAME "
        "!log_input.",
        Advice(
            "Exempt the management account on the instance: Defaults:NAME !log_input in its sudoers file.",
            "credential",
        ),
        stops=True,
        heard=Heard.CHANGE | Heard.PROBE,
    ),
    Reason(
        "sudo_noexec",
        "sudo lets the root shell run no program (noexec).",
        Advice(
            "Exempt the management account on the instance: Defaults:NAME !noexec in its sudoers file.",
            "credential",
        ),
    ),
    Reason(
        "sudo_not_allowed", "The sudoers file does not let the management account run a root shell.", ROOT
    ),
    Reason(
        "sudo_password",
        "The stored sudo password is wrong, or sudo refused it.",
        Advice("Create a management credential with the right sudo password, and attach it.", "instance"),
    ),
    Reason(
        "sudo_terminal", "sudo wants a terminal (requiretty). Exempt the management account from it.", ROOT
    ),
    Reason(
        "truncates",
        "The instance accepts the value without its last character too: its password hash is an old one that "
        "reads only so much. Set ENCRYPT_METHOD to a newer one there.",
        Advice(
            "Have the instance hash passwords with yescrypt or SHA-512 (ENCRYPT_METHOD, pam_unix), then "
            "rotate.",
            "instance",
        ),
        stops=True,
        heard=Heard.PROBE,
    ),
    Reason(
        "unfenced", "The instance lacks flock or timeout, so a late change cannot be kept out there.", PASSES
    ),
    Reason(
        "unreadable",
        "The account itself may not read its key file or the folder that holds it.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "unwritable",
        "The account may not change its key file, or it belongs to another account. Change its owner "
        "back to the account.",
        ACCOUNT,
        of_account=True,
        heard=Heard.KEYS,
    ),
    Reason(
        "weak_ssh",
        "The instance offers no SSH algorithms that are still safe (OpenSSH 7.2 or newer has them).",
        Advice("Update OpenSSH on the instance to 7.2 or newer.", "instance"),
    ),
)

#: The lines of a checklist that only such a host has.
LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aged": "Aged",
        "chpasswd": "chpasswd",
        "disk": "Free space",
        "hash": "Hash",
        "key_disk": "Key disk",
        "key_file": "Key file",
        "key_lines": "Key lines",
        "key_login": "Key login",
        "min_age": "Min age",
        "selinux": "Selinux",
        "shadow_file": "Shadow file",
        "sudo": "Root by sudo",
        "sudo_log": "sudo log",
    }
)

#: Everything that may be reported over SSH.
ALL: Final[Table] = MappingProxyType({**reasons.COMMON, **SSH})

#: What may be wrong with an account, so that its password is not changed.
ACCOUNT_PROBLEMS: Final = reasons.heard(ALL, Heard.ACCOUNT)
#: What may be wrong with an account's keys, or with where sshd looks for them.
KEY_PROBLEMS: Final = reasons.heard(ALL, Heard.KEYS)


def sentence(code: str) -> str:
    """What to show for a reason. Raises `KeyError` for a code that has none."""
    return ALL[code].sentence


def let_pass(code: str) -> str:
    """What to show for a reason that is let pass for this run. Raises `KeyError` for any other."""
    override = ALL[code].override
    if override is None:
        raise KeyError(code)
    return override.sentence


def heard(of: Heard) -> frozenset[str]:
    """Return the codes that are believed from any of these programs on a host."""
    return reasons.heard(ALL, of)
