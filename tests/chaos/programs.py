"""The processes of the product, each started again as soon as it is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from console.management.commands import up
from console.process.supervisor import Program, die_with

CHECKOUT = Path(__file__).resolve().parents[2]


class Programs:
    """Web, two workers and beat, as `up` runs them, without the pauses that it makes between two deaths."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        # As many workers as `up` starts here: each is the same but for its name.
        web, worker, *_, beat = up._programs(self._listener.fileno(), 0)
        second = Program("worker2", (*worker.argv, "-n", "second@%h"))
        self._programs = {"web": web, "worker": worker, "worker2": second, "beat": beat}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log = (folder / "log").open("ab")
        self.log = folder / "log"

    def look_after(self) -> None:
        """Start what does not run."""
        for name, program in self._programs.items():
            if name not in self._running or self._running[name].poll() is not None:
                self._start(name, program)

    def _start(self, name: str, program: Program) -> None:
        parent = os.getpid()
        self._running[name] = subprocess.Popen(
            program.argv,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=program.pass_fds,
            process_group=0,
            preexec_fn=lambda: die_with(parent),
        )

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """As `kill -9` of a program with all that it started."""
        process = self._running[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def answers(self) -> bool:
        """Whether the console says that everything of it works."""
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.HTTPError):
            return False

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while any(p.poll() is None for p in self._running.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for name in self._running:
            self.kill(name)
        self._listener.close()
        self._log.close()
