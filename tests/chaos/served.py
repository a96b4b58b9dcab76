"""What serves: three web processes behind the proxy of docker-compose.yml, two workers and beat.

Each is a process of this machine with the product's own settings, and started again as soon as it is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from console.process.supervisor import die_with
from tests.e2e.proxied import Proxy
from tests.e2e.served import Browser
from tests.services import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
WEB = ("web-1", "web-2", "web-3")
CELERY = (sys.executable, "-m", "celery", "-A", "console.celery", "-q")
WORKER = (*CELERY, "worker", "-P", "threads", "--without-gossip", "--without-mingle")


class Served:
    """All of it, with the settings of this process's environment."""

    def __init__(self, folder: Path) -> None:
        self.log, self.web = folder / "log", WEB
        (folder / "proxy").mkdir()
        folder.chmod(0o711)  # nginx gives up root, and its folder is in this one
        ports = {name: free_port() for name in WEB}
        self._proxy = Proxy(folder / "proxy", tuple(ports.values()), trusted="", ends_tls=False)
        self.port = self._proxy.port
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "python:console.process.web", "-w", "1")
        self._commands = {name: (*gunicorn, "-b", f"127.0.0.1:{port}") for name, port in ports.items()}
        self._commands |= {f"worker-{n}": (*WORKER, "-n", f"worker-{n}@%h") for n in (1, 2)}
        self._commands["beat"] = (*CELERY, "beat", "--pidfile=")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        address = f"http://localhost:{self.port}"
        self._environment = os.environ | {"KEYTURN_PUBLIC_URL": address, "KEYTURN_BEHIND_PROXY": "true"}

    def start(self) -> None:
        """Start all of it and return when it says that it is whole. Raises AssertionError."""
        limit = time.monotonic() + 180
        while not self.is_whole():
            self.look_after()
            assert time.monotonic() < limit, self.log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)

    def look_after(self) -> None:
        """Start what does not run."""
        parent = os.getpid()
        for name, command in self._commands.items():
            if name in self._running and self._running[name].poll() is None:
                continue
            with self.log.open("ab") as log:
                self._running[name] = subprocess.Popen(
                    command, cwd=CHECKOUT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, process_group=0, preexec_fn=lambda: die_with(parent),
                )  # fmt: skip

    def kill(self, name: str) -> None:
        """As `kill -9` of a process with all that it started."""
        process = self._running[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_what_serves(self, name: str) -> None:
        """As `kill -9` of the process under a gunicorn, if there is one just now."""
        pid = self._running[name].pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)

    def is_whole(self) -> bool:
        """Whether web, worker, beat, database and broker work, as the console says."""
        return Browser(self.port).probe("/healthz") == 200

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        for name in self._running:
            self.kill(name)
        self._proxy.end()
