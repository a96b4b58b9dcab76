"""One `./keyturn up` of its own: folder, root key, port; and what of it runs, as /proc tells."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from lab import Fleet
from tests.e2e.inside import Inside
from tests.waiting import PATIENCE, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = {"web": "gunicorn", "worker": "worker", "beat": "beat"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    def __init__(self, folder, workers=1):
        self.folder, self.workers = folder, workers
        self.port = free_port()
        self.root_key = folder / "elsewhere" / "root.key"
        self.starts = []
        self._inside = None

    @property
    def environment(self):
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("KEYTURN_", "DJANGO_"))
        }
        return kept | {
            "KEYTURN_DATA": str(self.folder / "kept"),
            "KEYTURN_ROOT_KEY_FILE": str(self.root_key),
            "KEYTURN_WORKERS": str(self.workers),
            "KEYTURN_DEMO": "true",  # for what a test itself does to it, beside `up`
        }

    def up(self, *words, port=None):
        """Start it. What it prints goes to a file, as a pipe that nobody reads would stop it in the end."""
        log = self.folder / f"up-{len(self.starts)}.log"
        command = [
            sys.executable,
            "manage.py",
            "up",
            f"--port={port or self.port}",
            *(words or ["--no-demo"]),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=CHECKOUT, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        self.starts.append((process, log))
        return process

    def printed(self):
        return self.starts[-1][1].read_text(errors="replace")

    def health(self):
        """The status of /healthz and what it says; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            is_json = error.headers.get_content_type() == "application/json"
            return error.code, json.load(error) if is_json else {}
        except OSError:
            return 0, {}

    def wait_until_healthy(self):
        process = self.starts[-1][0]
        wait_for(lambda: self.health()[0] == 200 or process.poll() is not None, "/healthz")
        assert process.poll() is None, self.printed()

    def running(self):
        """Every process of this site but the lab's: its id and command line."""
        mark = f"KEYTURN_DATA={self.folder / 'kept'}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {pid: line for pid, line in found.items() if line}

    def main_pids(self, name):
        """The processes of a program that the supervisor started."""
        supervisor = self.starts[-1][0].pid
        return [
            pid
            for pid, line in self.running().items()
            if PROGRAMS[name] in line and _parent(pid) == supervisor
        ]

    def main_pid(self, name):
        """The first one of them; none while there is no such."""
        return next(iter(self.main_pids(name)), None)

    def stop(self):
        process = self.starts[-1][0]
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    def end(self):
        """Kill what runs; a test that failed must not leave the next ones a crowded machine."""
        if self._inside is not None:
            self._inside.end()
            self._inside = None
        for process, _ in self.starts:
            if process.poll() is None:
                process.kill()
                process.wait()
        try:
            wait_for(lambda: not self.running(), "the end of every process")
        finally:
            for pid in self.running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def inside(self, script):
        """Run a script in this site's own database and return the JSON that it prints; it goes by a pipe."""
        environment = self.environment | {
            "DJANGO_SETTINGS_MODULE": "console.settings",
            "PYTHONPATH": str(CHECKOUT),
        }
        if self._inside is not None and self._inside.environment != environment:
            self._inside.end()
            self._inside = None
        if self._inside is None:
            self._inside = Inside(CHECKOUT, environment)
        return self._inside.run(script)

    def demo_hosts(self):
        """The hosts that `up` started for this site, by name."""
        return {host.name: host for host in Fleet(self.folder / "kept" / "demo" / "running").hosts()}

    def password(self):
        """The first password, by the file that this start names; None where it names none."""
        found = re.search(r"^Password +in the file (\S+)$", self.printed(), re.MULTILINE)
        return Path(found[1]).read_text().strip() if found else None


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
