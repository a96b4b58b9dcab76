"""The requests and outages of `tests.chaos.outages`, with every part in a container of docker-compose.yml."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import redis

from tests.containers import docker
from tests.containers.__main__ import Trial

if TYPE_CHECKING:
    from tests.chaos.outages import Serving

WEB = 3
NETWORK, DATABASE, BROKER = "172.31.77.0/24", "172.31.77.10", "172.31.77.11"
#: The test's own process asks the database and the broker too: at addresses that stay.
PLACES = f"""
services:
  database: {{networks: {{default: {{ipv4_address: {DATABASE}}}}}}}
  broker: {{networks: {{default: {{ipv4_address: {BROKER}}}}}}}
networks: {{default: {{ipam: {{config: [{{subnet: {NETWORK}}}]}}}}}}
"""


class Plain(Trial):
    """The same project with plain HTTP at the proxy, which speaks to this machine alone."""

    port = 8000

    def compose(self, *words: str, given: bytes = b"") -> str:
        files = [
            word
            for name in ("docker-compose.yml", "compose.test.yml", "compose.places.yml")
            for word in ("-f", name)
        ]
        return docker.said("docker-compose", *files, *words, given=given, folder=self.folder)

    def write_files(self) -> None:
        super().write_files()
        shutil.rmtree(self.folder / "tls")
        (self.folder / "tls").mkdir()
        (self.folder / "compose.places.yml").write_text(PLACES)
        (self.folder / "keyturn.env").write_text(
            f"KEYTURN_PUBLIC_URL=http://localhost:{self.port}\nKEYTURN_READS_AT_MOST=10000\n"
            "KEYTURN_LOG_FORMAT=json\n"
        )

    def up(self) -> None:
        self.compose("up", "-d", "--no-build", "--scale", f"web={WEB}", "--scale", "worker=2")
        self.wait(lambda: not self._runs("setup"), "the end of the set-up")

    def _runs(self, service: str) -> bool:
        found = docker.said(
            "docker", "ps", "-q", "--filter", f"label=com.docker.compose.service={service}",
            "--filter", "status=running",
        )  # fmt: skip
        return bool(found.split())

    def use_its_settings(self, folder: Path) -> None:
        """Have this process use the database, the broker and copies of the keys."""
        volumes = folder / "data" / "volumes"
        keys = folder / "own-keys"
        shutil.copytree(volumes / "keyturn_keys" / "_data", keys)
        for path in (keys, *keys.iterdir()):
            os.chown(path, 0, 0)
        password = folder / "own-password"
        shutil.copy(self.folder / "secrets" / "database-password", password)
        password.chmod(0o600)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "console.settings", "KEYTURN_DATA": str(folder / "own-data"),
            "KEYTURN_ROOT_KEY_FILE": str(keys / "root.key"),
            "KEYTURN_DATABASE_URL": f"postgresql://keyturn@{DATABASE}/keyturn",
            "KEYTURN_DATABASE_PASSWORD_FILE": str(password),
            "KEYTURN_BROKER_URL": f"redis://{BROKER}:6379/0",
            "KEYTURN_PUBLIC_URL": f"http://localhost:{self.port}",
        }  # fmt: skip
        import django

        django.setup()


@dataclass
class Host:
    """A server of the fleet, asked from outside of it."""

    name: str
    container: str

    def shadow(self, username: str) -> str:
        return docker.said("docker", "exec", self.container, "getent", "shadow", username).split(":")[1]


class Container:
    """One container that is killed and started again."""

    def __init__(self, name: str, answers: Callable[[], bool], wait: Callable[..., None]) -> None:
        self._name, self._answers, self._wait = name, answers, wait

    def start(self) -> None:
        docker.said("docker", "start", self._name)
        self._wait(self._answers, "a server")


class Database(Container):
    """PostgreSQL."""

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`."""
        docker.said("docker", "kill", "--signal", "QUIT", self._name)
        docker.said("docker", "wait", self._name)


class Broker(Container):
    """Redis."""

    def kill(self) -> None:
        docker.said("docker", "kill", self._name)

    def client(self) -> redis.Redis:
        return redis.Redis(host=BROKER, socket_timeout=5)


class Contained:
    """What serves, as `Serving` has it."""

    def __init__(self, trial: Plain) -> None:
        self._trial, self.port = trial, trial.port
        self.web = trial.containers("web")
        self._starting: dict[str, threading.Thread] = {}

    def start(self) -> None:
        self._trial.wait(self.is_whole, "a whole installation")

    def look_after(self) -> None:
        """Containers are started as soon as they are killed."""

    def kill(self, name: str) -> None:
        if (before := self._starting.get(name)) and before.is_alive():
            return
        with suppress(docker.Failed):  # it is down already
            docker.said("docker", "kill", name)
        self._starting[name] = threading.Thread(target=docker.said, args=("docker", "start", name))
        self._starting[name].start()

    def kill_what_serves(self, name: str) -> None:
        with suppress(docker.Failed, OSError, IndexError):
            pid = docker.said("docker", "inspect", "--format", "{{.State.Pid}}", name).strip()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(secrets.choice(children)), signal.SIGKILL)

    def is_whole(self) -> bool:
        from tests.e2e.served import Browser

        return Browser(self.port).probe("/healthz") == 200

    def said(self) -> str:
        return self._trial.compose("logs", "--no-color", "web", "worker", "beat")

    def end(self) -> None:
        for thread in self._starting.values():
            thread.join()


def run(folder: Path, minutes: float, rate: float) -> int:
    """Ask for so long; 0 where all went well. Raises `docker.Failed`."""
    trial = Plain(folder)
    trial.write_files()
    print("... images", flush=True)
    trial.build()
    print("... containers", flush=True)
    trial.up()
    served: Serving = Contained(trial)
    trial.use_its_settings(folder)
    served.start()
    trial.register()
    trial.all_succeeded(trial.rotate_all())

    from lab.hosts import _crypt
    from secrets_app.models import Secret
    from secrets_app.secrets import versions
    from tests.chaos.outages import Outages

    @dataclass
    class Target:
        """An account in a container, as `Watched` has it."""

        secret: Secret
        host: Host
        username: str

        @property
        def place(self) -> str:
            return f"{self.username} on {self.host.name}"

        def _opens(self, version: object, there: str) -> bool:
            word = versions.value(version).password.reveal()  # type: ignore[arg-type]
            return there == _crypt(word, there)

        def is_lost(self) -> bool:
            there = self.host.shadow(self.username)
            kept = self.secret.versions.filter(sealed__isnull=False).order_by("-created_at")
            return not any(self._opens(version, there) for version in kept)

        def has(self, version_pk: object) -> bool:
            return self._opens(self.secret.versions.get(pk=version_pk), self.host.shadow(self.username))

    hosts = {name: Host(name, trial.containers(name)[0]) for name in ("host-a", "host-b")}
    targets = []
    for secret in Secret.objects.order_by("name"):
        account = secret.managed
        targets.append(Target(secret, hosts[account.instance.name], account.username))

    def store_answers() -> bool:
        password = (folder / "own-password").read_text().strip()
        try:
            with psycopg.connect(
                f"postgresql://keyturn@{DATABASE}/keyturn", password=password, connect_timeout=5
            ):
                return True
        except psycopg.OperationalError:
            return False

    def queue_answers() -> bool:
        try:
            return bool(redis.Redis(host=BROKER, socket_timeout=2, socket_connect_timeout=2).ping())
        except redis.RedisError:
            return False

    store = Database(trial.containers("database")[0], store_answers, trial.wait)
    queue = Broker(trial.containers("broker")[0], queue_answers, trial.wait)
    return Outages(minutes, rate, None, store, queue).among(targets, served)
