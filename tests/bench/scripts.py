"""What a plain script does to an account: log in as its manager, change it, log in to it again.

It stores nothing, looks at nothing beforehand and takes nothing back. Its connections send small packets at
once, as Keyturn's do, and it already knows the keys of its host.
"""

from __future__ import annotations

import secrets
import socket

import paramiko

from lab import Host
from tests.lab_fixtures import KeyPair, connect

ACCOUNT = "naive"
KEYS = f"/home/{ACCOUNT}/.ssh/authorized_keys"


class Script:
    """The script for one host, which has the account `naive` and lets `keyturn` log in by `key`."""

    def __init__(self, host: Host, key: KeyPair) -> None:
        self._host, self._key, self._known = host, key, host.host_keys()
        host.set_authorized_keys(ACCOUNT, "")

    def password(self) -> None:
        value = secrets.token_urlsafe(24)
        self._as_root("sudo chpasswd", f"{ACCOUNT}:{value}\n")
        self._log_in(ACCOUNT, password=value).close()

    def key_pair(self) -> None:
        pair = KeyPair.generate()
        self._as_root(f"sudo tee {KEYS}", f"{pair.public}\n")
        self._log_in(ACCOUNT, key=pair).close()

    def _as_root(self, line: str, given: str) -> None:
        client = self._log_in("keyturn", key=self._key)
        stdin, stdout, _ = client.exec_command(line)
        stdin.write(given)
        stdin.channel.shutdown_write()
        status = stdout.channel.recv_exit_status()
        client.close()
        if status:
            raise SystemExit(f"the plain script's {line!r} ended with {status} on {self._host.name}")

    def _log_in(
        self, username: str, *, password: str | None = None, key: KeyPair | None = None
    ) -> paramiko.SSHClient:
        over = socket.create_connection((self._host.address, self._host.port), timeout=10)
        over.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connect(self._host, username, password=password, key=key, known=self._known, over=over)
