"""Keep a few programs running together, restart each when it dies, and end them all together.

The promise: no child outlives this process. The kernel kills each one when its parent dies (prctl(2),
PR_SET_PDEATHSIG), so even SIGKILL leaves nothing behind. One thread does everything: that signal is
bound to the thread that started the child, and code between fork and exec is safe beside no other.

Knows nothing of what the programs do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from console.process.logs import one_line

GRACE_SECONDS: Final = 15.0  # a worker ends within ten, even if a thread hangs
FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0  # after running this long, a program's next delay is the first one again
LINE_LIMIT_BYTES: Final = 64 * 1024
_PR_SET_PDEATHSIG: Final = 1
# Loaded before any fork: between fork and exec nothing may be imported.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Have the kernel kill the calling process when `parent`, the process that forked it, dies.

    Elsewhere than on Linux there is no such order, and this does nothing.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the order was given.
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True)
class Program:
    """What to run, and the word before each of its lines."""

    name: str
    argv: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    may_finish: bool = False  # with status 0 it has done its work and is not started again


@dataclass
class _Child:
    """One program and its present process."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0  # the monotonic time before which it is not started again
    failures: int = 0
    is_finished: bool = False
    unfinished: bytes = field(default=b"", repr=False)  # of a line


class Supervisor:
    """Run programs until SIGTERM or SIGINT."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        folder: Path,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        grace: float = GRACE_SECONDS,
    ) -> None:
        """Take what to run, in `folder` and with `environment`; `say` prints one line."""
        self._children = [_Child(program) for program in programs]
        self._folder = folder
        self._environment = dict(environment)
        self._say = say
        self._grace = grace
        self._is_stopping = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Start everything and return once, after a signal, everything has ended."""
        with self._awake_on_signals():
            try:
                while not self._is_stopping:
                    for child in self._children:
                        self._look_after(child)
                    self._listen(0.2)
            finally:
                self._stop()

    @contextlib.contextmanager
    def _awake_on_signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into the wish to stop, and let each end a wait at once."""
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        self._selector.register(reader, selectors.EVENT_READ)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.unregister(reader)
            os.close(reader)
            os.close(writer)

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._is_stopping = True

    def _look_after(self, child: _Child) -> None:
        if child.process is None:
            if not child.is_finished and time.monotonic() >= child.start_at:
                self._start(child)
        elif child.process.poll() is not None:
            self._bury(child)
            child.is_finished = child.program.may_finish and child.process.returncode == 0
            if not child.is_finished:
                self._put_off(child, child.process)
            child.process = None

    def _put_off(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        """Have it started again, the later the more often it has died."""
        if time.monotonic() - child.started_at > STEADY_SECONDS:
            child.failures = 0
        delay = min(FIRST_DELAY_SECONDS * 2**child.failures, LONGEST_DELAY_SECONDS)
        child.failures += 1
        child.start_at = time.monotonic() + delay
        self._say(f"{child.program.name} ended ({_ending(process)}); starting it again in {delay:g} s")

    def _start(self, child: _Child) -> None:
        supervisor = os.getpid()
        child.process = subprocess.Popen(
            child.program.argv,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=child.program.pass_fds,
            # A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which asks each to end.
            process_group=0,
            preexec_fn=lambda: die_with(supervisor),
        )
        child.started_at = time.monotonic()
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _bury(self, child: _Child) -> None:
        """Print the last lines of a process that has ended, and end what it left behind in its group."""
        assert child.process is not None
        assert child.process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        self._read(child)
        if child.unfinished:
            self._print(child, child.unfinished)
            child.unfinished = b""
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.process.stdout)
        child.process.stdout.close()

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, _Child):
                self._read(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 512)

    def _read(self, child: _Child) -> None:
        """Print what a child has written, line by line, as far as it goes without waiting."""
        assert child.process is not None
        assert child.process.stdout is not None
        try:
            while more := os.read(child.process.stdout.fileno(), LINE_LIMIT_BYTES):
                *lines, child.unfinished = (child.unfinished + more).split(b"\n")
                for line in lines:
                    self._print(child, line)
                if len(child.unfinished) > LINE_LIMIT_BYTES:
                    self._print(child, child.unfinished)
                    child.unfinished = b""
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.process.stdout)
        except BlockingIOError:
            pass

    def _print(self, child: _Child, line: bytes) -> None:
        self._say(f"{child.program.name:<6} | {one_line(line.decode(errors='backslashreplace'))}")

    def _stop(self) -> None:
        """Ask each main process to end, wait, and kill what is left with everything it started."""
        living = [child for child in self._children if child.process is not None]
        for child in living:
            self._signal(child, signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while any(_lives(child) for child in living) and time.monotonic() < deadline:
            self._listen(0.1)
        for child in living:
            assert child.process is not None
            if _lives(child):
                self._say(f"{child.program.name} did not end within {self._grace:g} s and was killed")
                self._signal(child, signal.SIGKILL)
            child.process.wait()
            self._bury(child)
            child.process = None

    def _signal(self, child: _Child, number: signal.Signals) -> None:
        assert child.process is not None
        if child.process.poll() is None:
            child.process.send_signal(number)


def _lives(child: _Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _ending(process: subprocess.Popen[bytes]) -> str:
    if process.returncode >= 0:
        return f"exit status {process.returncode}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-process.returncode).name
    return f"signal {-process.returncode}"
