"""The console's real web server on the tests' database: gunicorn, with workers that a test may kill.

All code is loaded before the workers fork, so that the next one is there in a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings as django_settings
from django.db import connection

CHECKOUT = Path(__file__).resolve().parents[1]


def database_url() -> str:
    """This test's database, for a process of its own."""
    if connection.vendor == "sqlite":
        return f"sqlite://{connection.settings_dict['NAME']}"
    server = os.environ["KEYTURN_TEST_DATABASE_URL"].rpartition("/")[0]
    return f"{server}/{connection.settings_dict['NAME']}"


class Web:
    """gunicorn as `up` starts it, but for the settings; ends with `end`."""

    def __init__(
        self, log: Path, *words: str, settings: str = "tests.settings", config: str = "tests.warm_web"
    ):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.base = f"http://localhost:{self.port}"
        self.log = log
        number = self._listener.fileno()
        key = log.with_name("session.key")
        key.touch(mode=0o600)
        key.write_text(django_settings.SECRET_KEY)  # the sessions that the test makes are for this server
        environment = os.environ | {
            # Both: gunicorn's settings file reads the product's settings before the tests' own are read.
            "KEYTURN_TEST_DATABASE_URL": database_url(), "KEYTURN_DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": settings, "KEYTURN_PUBLIC_URL": self.base,
            "KEYTURN_SECRET_KEY_FILE": str(key),
        }  # fmt: skip
        command = [sys.executable, "-m", "gunicorn", "-c", f"python:{config}", "-b", f"fd://{number}"]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*command, "--preload", *words],
                env=environment, cwd=CHECKOUT, stdout=file, stderr=file, pass_fds=(number,),
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process that started those that serve."""
        return self._process.pid

    def workers(self) -> list[int]:
        """The processes that serve, by their numbers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def wait(self) -> None:
        deadline = time.monotonic() + 90
        while not self.workers():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> None:
        for pid in [*self.workers(), self._process.pid]:
            os.kill(pid, signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.close()
