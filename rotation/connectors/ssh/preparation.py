"""What a person runs on a host that speaks SSH: to let Keyturn in, to take that back, to compare, to log on.

Nothing here is secret: of a key there is its public half. `account_problem` says whether an account's name
can stand in a shell and in a sudoers file, as it does here.
"""

from __future__ import annotations

import re
import shlex

from rotation.connectors import words
from rotation.connectors.log_ons import LogOn

#: In the account's comment field: it says that the command made the account, so undoing may remove it.
COMMENT = "Keyturn management"


#: Prints the fingerprint of each host key, on the host itself.
COMPARE = 'for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf "$key"; done'
COMPARE_EXAMPLE, COMPARE_NEVER = "/etc/ssh/ssh_host_ed25519_key.pub", "ssh-keyscan"

DOES = (
    "Run this once on each instance, as its administrator. It creates the account if it is missing, "
    "authorizes this key, and allows sudo without a password. Running it again changes nothing more."
)
UNDOES = "removes this key and the sudo rule, and the account only if the command created it."


def account_problem(name: str) -> str:
    """Return what keeps a management account from being called so, or nothing."""
    # A final $ is for machine accounts, and in a shell it begins a variable.
    if not words.is_username(name) or name.endswith("$"):
        return "An account has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):  # sudoers(5): an alias, and ALL means every user
        return "sudo takes a name in capitals for a list of users. Use another account."
    return ""


def log_on(username: str, address: str, port: int, key_file: str) -> LogOn:
    """Return the command to log on with; quoted, because an account's name may end in a dollar sign."""
    key = ["-i", key_file, "-o", "IdentitiesOnly=yes"] if key_file else []
    return LogOn(shlex.join(["ssh", *key, f"{username}@{address}", "-p", str(port)]))


def command(username: str, public_key: str) -> str:
    """Return the command that, run once on a host, permits logins as this account with Keyturn's own key.

    The account may become root without a password: changing other accounts' passwords is root's work,
    so a narrower sudoers line would only look safer.
    """
    user, key = username, f"{public_key} keyturn"
    rule = f"{user} ALL=(root) NOPASSWD: ALL\nDefaults:{user} !requiretty, !log_input"
    file = _sudoers(user)
    return (
        "sudo sh -eu <<'KEYTURN'\n"
        f"id -u {user} >/dev/null 2>&1 ||\n"
        f"  useradd --system --create-home --shell /bin/sh --comment '{COMMENT}' {user}\n"
        f"home=$(getent passwd {user} | cut -d: -f6) group=$(id -g {user})\n"
        f'install -d -m 0700 -o {user} -g "$group" "$home/.ssh"\n'
        f'grep -qsF {shlex.quote(public_key)} "$home/.ssh/authorized_keys" ||\n'
        f"  printf '\\n%s\\n' {shlex.quote(key)} >>\"$home/.ssh/authorized_keys\"\n"
        f'chown {user}:"$group" "$home/.ssh/authorized_keys" && chmod 0600 "$home/.ssh/authorized_keys"\n'
        f"printf '%s\\n' {shlex.quote(rule)} >{file}.new\n"
        f"chmod 0440 {file}.new && visudo -cqf {file}.new && mv {file}.new {file}\n"
        "KEYTURN"
    )


def opposite(username: str, public_key: str) -> str:
    """Return the command that takes the key and the sudo rule away again.

    The account goes too, but only where `command` made it.
    """
    user = username
    remove = f"if getent passwd {user} | grep -q ':{COMMENT}:'; then userdel --remove {user}; fi\n"
    return (
        "sudo sh -eu <<'KEYTURN'\n"
        f"rm -f {_sudoers(user)}\n"
        f"keys=$(getent passwd {user} | cut -d: -f6)/.ssh/authorized_keys\n"
        f'kept=$(grep -vF {shlex.quote(public_key)} "$keys" || true)\n'
        'printf "%s\\n" "$kept" >"$keys"\n'
        f"{remove if user != 'root' else ''}"
        "KEYTURN"
    )


def _sudoers(user: str) -> str:
    # One file for each account, and no dot in its name: sudo passes over such files.
    return "/etc/sudoers.d/keyturn-" + user.replace(".", "_")
