"""Processes of Python that have loaded Keyturn already: each a fork of one that the tests started.

To load it takes a second of processor time, and far less time than that is what a test is about. `start`
begins a module as `python -m MODULE WORDS` does, in a process of its own that a signal may end: its
environment is the one that was given, and it has no connection, no thread and no file that others have too.
Only its command line in /proc is that of the process which it was forked from.

There is one such process for each environment, for as long as the process of the tests lives. Each that it
forked is killed when it ends.
"""

from __future__ import annotations

import atexit
import json
import mmap
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
SIZE = 65_536  # bytes; more than any message has
NONE_LEFT = -signal.SIGKILL
#: By their environment.
_sources: dict[frozenset[tuple[str, str]], _Source] = {}


def start(
    module: str, *words: str, environment: Mapping[str, str], log: Path | None = None, leads: bool = False
) -> Forked:
    """Start a module in a process of its own; with `leads` it leads a session, and so a group.

    What it prints is added to `log`, or goes where the tests' own goes.
    """
    # Pytest changes this one for each test, and nothing that is started looks at it.
    given = {name: text for name, text in environment.items() if name != "PYTEST_CURRENT_TEST"}
    key = frozenset(given.items())
    if key not in _sources or not _sources[key].is_there():
        _sources[key] = _Source(given)
    return _sources[key].start(module, words, log, leads)


def end(environment: Mapping[str, str]) -> None:
    """End the process that those of this environment were forked from, and any of them that still runs."""
    given = {name: text for name, text in environment.items() if name != "PYTEST_CURRENT_TEST"}
    if source := _sources.pop(frozenset(given.items()), None):
        source.end()


@atexit.register
def _end_all() -> None:
    """A fork of the process that started them leaves them alone."""
    for source in _sources.values():
        if source.starter == os.getpid():
            source.end()


class Forked:
    """A process that was started here, as `subprocess.Popen` has one."""

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, once it did. Raises `subprocess.TimeoutExpired`."""
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return ended

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            said = self._told.recv(SIZE)
            # Without a word the process that would know has ended, and has taken it along.
            self.returncode = int(said) if said else NONE_LEFT
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Source:
    """The process that all of one environment are forked from, as the process of the tests sees it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.starter = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=CHECKOUT, env=environment, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def is_there(self) -> bool:
        return self._process.poll() is None

    def start(self, module: str, words: tuple[str, ...], log: Path | None, leads: bool) -> Forked:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            asked = {"module": module, "words": words, "log": str(log or ""), "leads": leads}
            socket.send_fds(self._control, [json.dumps(asked).encode()], [theirs.fileno()])
        pid = mine.recv(SIZE)
        assert pid, f"The process that others are forked from ended with {self._process.wait()}."
        return Forked(int(pid), mine)

    def end(self) -> None:
        self._control.close()
        self._process.wait()


# ---------------------------------------------------------------- in the process that is forked


def _load() -> None:
    """Load what a worker or a peer of the broker loads before it looks at its words; connect to nothing."""
    import celery.apps.worker
    import celery.bin.celery
    import celery.worker.consumer
    import django
    import kombu.transport.virtual

    django.setup()
    import console.process.broker
    from console.celery import app
    from rotation import tasks, wires
    from rotation.engine import engine

    assert all((celery, kombu, console, tasks, engine))
    app.finalize()
    wires.load()


def _serve(control: socket.socket) -> tuple[dict[str, Any], socket.socket]:
    """Fork for each message; return in the fork alone, with the message and where its sender listens.

    Ends when nobody can ask any more.
    """
    hears, tells = os.pipe()
    os.set_blocking(hears, False)
    os.set_blocking(tells, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    while True:
        ready = select.select([control, hears], [], [])[0]
        if hears in ready:
            os.read(hears, SIZE)
            _tell_who_ended(running)
        if control in ready:
            message, files, _, _ = socket.recv_fds(control, SIZE, 1)
            if not message:
                _kill_all(running)
            told = socket.socket(fileno=files[0])
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (control, *running.values()):
                    one.close()
                os.close(hears)
                os.close(tells)
                return json.loads(message), told
            running[pid] = told


def _tell_who_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as told:
            try:
                told.send(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:
                continue  # nobody waits for this one any more


def _kill_all(running: dict[int, socket.socket]) -> NoReturn:
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    sys.exit()


def _become(asked: dict[str, Any], told: socket.socket) -> None:
    """Go on as `python -m MODULE WORDS` would."""
    from rotation import shutdown

    # The one thing that Keyturn means forks to have in common: this one shares its own with its own.
    shutdown._wish = mmap.mmap(-1, 1)
    if asked["leads"]:
        os.setsid()
    # Said last: a signal for its group finds it.
    with told:
        told.send(str(os.getpid()).encode())
    if asked["log"]:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    sys.argv[1:] = asked["words"]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _load()
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
