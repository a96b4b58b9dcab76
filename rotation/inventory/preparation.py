"""The command that lets Keyturn into a server, and its opposite, for an operator to run there.

Both hold the public half of a key and nothing that is secret. `management.check_account_name` has
made sure that the account's name can stand in a shell and in a sudoers file.
"""

from __future__ import annotations

import shlex

from rotation.models import ManagementCredential

#: In the account's comment field: it says that the command made the account, so undoing may remove it.
COMMENT = "Keyturn management"


def command(credential: ManagementCredential) -> str:
    """Return the command that, run once on a server, lets Keyturn's own key in as this account.

    The account may become root without a password: changing other accounts' passwords is root's work,
    so a narrower sudoers line would only look safer.
    """
    user, key = credential.username, f"{credential.public_key} keyturn"
    rule = f"{user} ALL=(root) NOPASSWD: ALL\nDefaults:{user} !requiretty, !log_input"
    file = _sudoers(user)
    return (
        "sudo sh -eu <<'KEYTURN'\n"
        f"id -u {user} >/dev/null 2>&1 ||\n"
        f"  useradd --system --create-home --shell /bin/sh --comment '{COMMENT}' {user}\n"
        f"home=$(getent passwd {user} | cut -d: -f6) group=$(id -g {user})\n"
        f'install -d -m 0700 -o {user} -g "$group" "$home/.ssh"\n'
        f'grep -qsF {shlex.quote(credential.public_key)} "$home/.ssh/authorized_keys" ||\n'
        f"  printf '\\n%s\\n' {shlex.quote(key)} >>\"$home/.ssh/authorized_keys\"\n"
        f'chown {user}:"$group" "$home/.ssh/authorized_keys" && chmod 0600 "$home/.ssh/authorized_keys"\n'
        f"printf '%s\\n' {shlex.quote(rule)} >{file}.new\n"
        f"chmod 0440 {file}.new && visudo -cqf {file}.new && mv {file}.new {file}\n"
        "KEYTURN"
    )


def opposite(credential: ManagementCredential) -> str:
    """Return the command that takes the key and the sudo rule away again.

    The account goes too, but only where `command` made it.
    """
    user = credential.username
    remove = f"if getent passwd {user} | grep -q ':{COMMENT}:'; then userdel --remove {user}; fi\n"
    return (
        "sudo sh -eu <<'KEYTURN'\n"
        f"rm -f {_sudoers(user)}\n"
        f"keys=$(getent passwd {user} | cut -d: -f6)/.ssh/authorized_keys\n"
        f'kept=$(grep -vF {shlex.quote(credential.public_key)} "$keys" || true)\n'
        'printf "%s\\n" "$kept" >"$keys"\n'
        f"{remove if user != 'root' else ''}"
        "KEYTURN"
    )


def _sudoers(user: str) -> str:
    # One file for each account, and no dot in its name: sudo passes over such files.
    return "/etc/sudoers.d/keyturn-" + user.replace(".", "_")
