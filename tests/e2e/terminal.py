"""A real `ssh` at a terminal of its own, typed at as a person would."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from pathlib import Path


def log_on(address: str, port: int, username: str, password: str, known_hosts: Path) -> str:
    """Run `ssh` with `password` typed at its prompt; return all that the terminal showed.

    The command prints LOGGED_ON and whoami's answer where the login succeeds.
    """
    arguments = [
        "ssh", "-F", "none", "-p", str(port), "-o", f"UserKnownHostsFile={known_hosts}",
        "-o", "StrictHostKeyChecking=yes", "-o", "PreferredAuthentications=password",
        "-o", "NumberOfPasswordPrompts=1", f"{username}@{address}", "echo LOGGED_ON as $(whoami)",
    ]  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("ssh", arguments)  # noqa: S606
    shown = b""
    has_typed = False
    limit = time.monotonic() + 30
    try:
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                heard = os.read(terminal, 4096)
            except OSError:  # the terminal is gone: ssh has ended
                break
            if not heard:
                break
            shown += heard
            if not has_typed and re.search(rb"password: *$", shown):
                os.write(terminal, password.encode() + b"\n")
                has_typed = True
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown.decode(errors="replace")
