"""Each process works on PostgreSQL and Redis with what requirements.lock names, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.locked import environment
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("locked")
COMMANDS = sorted(
    path.stem for path in Path(environment.CHECKOUT, "console/management/commands").glob("[a-z]*.py")
)
CELERY = ("-m", "celery", "-A", "console.celery", "-q")


class Installation:
    """One installation on servers of its own, run by the locked environment alone."""

    def __init__(self, folder: Path, store: services.Postgres, broker: services.Redis) -> None:
        self.folder = folder
        self.port = services.free_port()
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("KEYTURN_", "DJANGO_", "PYTHON"))
        }
        self.environment = kept | {
            "KEYTURN_DATA": str(folder / "kept"),
            "KEYTURN_ROOT_KEY_FILE": str(folder / "keys" / "root.key"),
            "KEYTURN_DATABASE_URL": store.url,
            "KEYTURN_BROKER_URL": broker.url,
            "KEYTURN_PUBLIC_URL": f"http://localhost:{self.port}",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment.python(), *words],
            cwd=environment.CHECKOUT, env=self.environment, timeout=300,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        log = (self.folder / "log").open("ab")
        command = ["setpriv", "--pdeathsig", "KILL", str(environment.python()), *words]
        process = subprocess.Popen(
            command, cwd=environment.CHECKOUT, env=self.environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
            log.close()

    def says(self, path: str) -> dict[str, object]:
        """What a health check answers; nothing while nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return {}


@pytest.fixture(scope="module")
def installation(tmp_path_factory) -> Iterator[Installation]:
    with services.postgres() as store, services.redis_server() as broker:
        made = Installation(tmp_path_factory.mktemp("locked"), store, broker)
        done = made.run("manage.py", "setup")
        assert done.returncode == 0, done.stderr[-2000:]
        yield made


@pytest.fixture(scope="module")
def helped(installation) -> dict[str, tuple[int, str]]:
    return environment.helped(environment.CHECKOUT, installation.environment, COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts(helped, command):
    assert helped[command] == (0, "")


def test_the_audit_trail_is_verified(installation):
    done = installation.run("manage.py", "audit", "verify")
    assert done.returncode == 0, done.stderr[-2000:]


def test_web_worker_and_beat_work_together(installation):
    web = ("-m", "gunicorn", "-c", "python:console.process.web", "-b", f"127.0.0.1:{installation.port}")
    worker = (*CELERY, "worker", "-P", "threads", "--without-gossip", "--without-mingle")
    beat = (*CELERY, "beat", "--pidfile=")
    with (
        installation.running(*web) as one,
        installation.running(*worker) as two,
        installation.running(*beat) as three,
    ):
        ended = lambda: [process.args for process in (one, two, three) if process.poll() is not None]  # noqa: E731
        wait_for(lambda: installation.says("/healthz").get("status") == "ok" or ended(), "/healthz")
        assert ended() == [], (installation.folder / "log").read_text()[-3000:]
        assert installation.says("/readyz") == {"status": "ok", "obstacles": []}
