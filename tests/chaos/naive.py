"""What most scripts do: the host first, the store afterwards. `python -m tests.chaos.naive FOLDER`.

Rotates the account `naive` of every host of a fleet in turn, for ever, each time in a process of its own
that is killed at a random moment of about the time that it needs, and counts what is lost. The private key
comes on standard input.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from lab import Fleet, Host
from tests.lab_fixtures import KeyPair, connect

FIRST = "the-first-password-1"
PAUSE = 0.4  # between two, for what they are compared with to have the machine too


def rotate(host: Host, key: KeyPair, store: Path) -> None:
    value = secrets.token_urlsafe(24)
    client = connect(host, "keyturn", key=key)
    stdin, stdout, _ = client.exec_command("sudo chpasswd")
    stdin.write(f"naive:{value}\n")
    stdin.channel.shutdown_write()
    stdout.channel.recv_exit_status()
    client.close()
    fresh = store.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    fresh.replace(store)


def kill_after(seconds: float, host: Host, key: KeyPair, store: Path) -> float:
    """Rotate in a process that is killed after that time; return how long it lived."""
    began = time.monotonic()
    if not (pid := os.fork()):
        try:
            rotate(host, key, store)
        finally:
            os._exit(0)
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() - began > seconds:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        time.sleep(0.005)
    return time.monotonic() - began


def main(folder: Path) -> None:
    key = KeyPair("", sys.stdin.read())
    needed = 1.0
    for number, host in enumerate(itertools.cycle(Fleet(folder / "fleet").hosts())):
        store = folder / f"{host.name}.json"
        if number % 5 == 0:
            needed = kill_after(30, host, key, store)  # in peace, to know how long it takes now
        else:
            kill_after(random.uniform(0.3, 1.1) * needed, host, key, store)
        time.sleep(PAUSE)  # a chpasswd that was under way ends
        kept = json.loads(store.read_text()) if store.exists() else FIRST
        if host.shadow_accepts("naive", kept):
            print("kept", flush=True)
        else:
            print("lost", flush=True)
            host.set_password("naive", kept)


class Control:
    """The naive rotator as a process, and what it has lost."""

    def __init__(self, folder: Path, key: KeyPair) -> None:
        self._folder, self._key = folder, key
        self._log = folder / "naive.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.naive", str(self._folder)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(self._key.private.encode())
        self._process.stdin.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def counts(self) -> Counter[str]:
        """How many credentials it kept and lost."""
        return Counter(self._log.read_text().split()) if self._log.exists() else Counter()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
