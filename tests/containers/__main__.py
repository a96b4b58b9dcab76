"""Bring the production shape up in real containers, break it, upgrade it, and take it down.

`python -m tests.containers` needs root, Debian and `docker.io`. Nothing is published outside a network
namespace that ends with it. `--record` writes the figures to docs/evidence.md; `--outages 10` does instead
what `./keyturn chaos --outages 10` does to processes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.containers import docker, inside
from tests.waiting import wait_for

PATIENCE = 300.0  # seconds, for what containers do
PORT, METRICS = 8443, 9464
MARK = "a-mark-in-a-query-string"
HEAD = "## In containers"


class Browser:
    """One person at the proxy, by TLS, with the certificate that was made for it."""

    def __init__(self, certificate: Path) -> None:
        self._trust = ssl.create_default_context(cafile=str(certificate))
        self.cookies: dict[str, str] = {}

    def ask(
        self, method: str, path: str, form: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        connection = HTTPSConnection("localhost", PORT, context=self._trust, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if form is not None:
            body = urlencode(form)
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://localhost:{PORT}",
                        "Referer": f"https://localhost:{PORT}/"}  # fmt: skip
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
        finally:
            connection.close()

    def send(self, path: str, **fields: str) -> tuple[int, str, dict[str, str]]:
        """Fill in the form of a page and send it."""
        _, page, _ = self.ask("GET", path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token, f"no form at {path}: {page[:500]}"
        hidden = dict(re.findall(r'<input type="hidden" name="(token)" value="([^"]*)"', page))
        return self.ask("POST", path, {**hidden, **fields, "csrfmiddlewaretoken": token[1]})

    def status(self, path: str) -> int:
        """The status of an answer; 0 where there is none."""
        try:
            return self.ask("GET", path)[0]
        except (OSError, HTTPException):
            return 0


class Trial:
    """One project of containers, from nothing to nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.figures: list[tuple[str, str]] = []
        self.values: set[str] = set()  # each one that was current at some time

    # ------------------------------------------------------------ tools

    def compose(self, *words: str, given: bytes = b"") -> str:
        files = ("-f", "docker-compose.yml", "-f", "compose.test.yml")
        return docker.said("docker-compose", *files, *words, given=given, folder=self.folder)

    def script(self, script: str) -> object:
        """What a script printed that ran in a web container."""
        printed = self.compose("exec", "-T", "--index=1", "web", "python", "-", given=script.encode())
        return json.loads(printed.strip().splitlines()[-1])

    def runs(self) -> dict[str, Any]:
        found = self.script(inside.RUNS)
        assert isinstance(found, dict)
        return found

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def health(self, container: str) -> str:
        return docker.said("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        wait_for(condition, what, PATIENCE)

    def step(self, what: str, work: Callable[[], str | None]) -> None:
        print(f"... {what}", flush=True)
        began = time.monotonic()
        result = work()
        took = time.monotonic() - began
        self.figures.append((what, f"{result + '; ' if result else ''}{took:.0f} s"))
        print(f"ok  {what}: {self.figures[-1][1]}", flush=True)

    def rotate_all(self) -> int:
        count = self.script(inside.ROTATE)
        assert isinstance(count, int)
        return count

    def all_succeeded(self, count: int) -> None:
        self.wait(lambda: self._quiet() == 0, "the end of every rotation")
        found = self.runs()
        assert found["succeeded"] == found["all"] == count, found

    def _quiet(self) -> object:
        try:
            return self.runs()["active"]
        except docker.Failed:
            return -1  # the database is on its way

    # ------------------------------------------------------------ steps

    def write_files(self) -> None:
        """Only what the head of docker-compose.yml names."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=docker.CHECKOUT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (docker.CHECKOUT / name).is_file():
                shutil.copy2(docker.CHECKOUT / name, self.folder / name)
        shutil.copy(docker.HERE / "compose.yml", self.folder / "compose.test.yml")
        (self.folder / "keyturn.env").write_text(
            f"KEYTURN_PUBLIC_URL=https://localhost:{PORT}\nKEYTURN_WORKER_THREADS=3\nKEYTURN_LOG_FORMAT=json\n"
        )
        password = self.folder / "secrets" / "database-password"
        password.parent.mkdir(mode=0o711)
        password.write_text(secrets.token_urlsafe(24) + "#/?@:\n")
        certificate, key = self.folder / "tls" / "certificate.pem", self.folder / "tls" / "key.pem"
        certificate.parent.mkdir(mode=0o755)
        docker.said(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-out", str(certificate), "-keyout", str(key),
        )  # fmt: skip
        self.token = secrets.token_urlsafe(24)
        token = self.folder / "secrets" / "metrics-token"
        token.write_text(f"{self.token}\n")
        for file in (password, key, token):
            os.chown(file, 10001, 10001)
            file.chmod(0o400)
        self.browser = Browser(certificate)

    def build(self) -> None:
        self.compose("build", "web", "proxy")

    def up(self) -> str:
        self.compose("up", "-d", "--no-build", "--scale", "web=2", "--scale", "worker=3")
        self.wait(lambda: self.browser.status("/sign-in/") == 200, "the sign-in page")
        counts = {service: len(self.containers(service)) for service in ("web", "worker", "beat")}
        assert counts == {"web": 2, "worker": 3, "beat": 1}, counts
        return "2 web, 3 worker, 1 beat"

    def all_healthy(self) -> None:
        for service in ("web", "worker", "beat", "proxy", "database", "broker"):
            for container in self.containers(service):
                self.wait(
                    lambda container=container: self.health(container) == "healthy", f"{service} healthy"
                )
        self.wait(lambda: self.browser.status("/healthz") == 200, "a whole installation")
        processes = docker.said("docker", "top", self.containers("worker")[0])
        assert "celery" in processes
        threads = self.script(
            inside.START + "\nfrom django.conf import settings\nprint(settings.CELERY_WORKER_CONCURRENCY)"
        )
        assert threads == 3

    def sign_in(self) -> None:
        shown = docker.said("docker", "logs", self._setup_container())
        name = re.search(r"^Sign in as +(\S+)$", shown, re.MULTILINE)
        file = re.search(r"^Password +in the file (\S+)$", shown, re.MULTILINE)
        assert name, shown
        assert file, shown
        first = self.compose("exec", "-T", "web", "cat", file[1]).strip()
        assert len(first) >= 20
        assert first not in shown
        status, _, _headers = self.browser.send(f"/sign-in/?{MARK}", login=name[1], password=first)
        assert status == 302, status
        chosen = secrets.token_urlsafe(18)
        status, page, _ = self.browser.send(
            "/change-password/", oldpassword=first, password1=chosen, password2=chosen
        )
        assert status == 302, (status, page[-1500:])
        assert self.browser.status("/all/overview/") == 200
        assert "first-password" not in self.compose("exec", "-T", "web", "ls", "/var/lib/keyturn")

    def _setup_container(self) -> str:
        return docker.said(
            "docker", "ps", "-aq", "--filter", "label=com.docker.compose.service=setup"
        ).split()[0]

    def register(self) -> None:
        public = self.script(inside.CREDENTIAL)
        for host in ("host-a", "host-b"):
            self.compose(
                "exec", "-T", host, "sh", "-c",
                "cd /home/keyturn/.ssh && cat > authorized_keys && chown keyturn: authorized_keys",
                given=f"{public}\n".encode(),
            )  # fmt: skip
        found = self.script(inside.REGISTER)
        assert isinstance(found, list)
        self.region, *self.secrets = found
        assert len(self.secrets) == 6

    def rotate_through_the_proxy(self) -> str:
        for secret in self.secrets:
            path = f"/{self.region}/secrets/{secret}/rotate/"
            status, page, _ = self.browser.send(path, reason="routine")
            assert status in (200, 202, 302), (status, page[-1500:])
        self.all_succeeded(6)
        self.hosts_accept()
        return "6 of 6"

    def hosts_accept(self) -> None:
        """The hosts' own shadow files hold the values that Keyturn calls current."""
        values = self.script(inside.VALUES)
        assert isinstance(values, list)
        assert len(values) == 6
        for host in ("host-a", "host-b"):
            own = [[user, word] for name, user, word in values if name == host]
            printed = self.compose(
                "exec",
                "-T",
                host,
                "python3",
                "-W",
                "ignore",
                "-c",
                inside.ACCEPTS,
                given=json.dumps(own).encode(),
            )
            assert json.loads(printed) == [True] * 3
        self.values.update(word for _, _, word in values)

    def kill_a_worker(self) -> str:
        """Kill one that has a rotation under way: all of them stand still while it is chosen.

        They stand still while the rotations are asked for too: those are quicker than a look from outside.
        """
        workers = self.containers("worker")
        docker.said("docker", "kill", "--signal", "STOP", *workers)
        count = self.rotate_all()
        held: dict[str, str] = {}

        def is_chosen() -> bool:
            docker.said("docker", "kill", "--signal", "CONT", *workers)
            docker.said("docker", "kill", "--signal", "STOP", *workers)
            found = self.runs()
            assert found["active"], "the rotations were over before a worker could be killed"
            held.update(found["held"])
            return bool(held)

        self.wait(is_chosen, "a rotation under way")
        name = next(iter(held.values()))
        (victim,) = (worker for worker in workers if worker.startswith(name))
        docker.said("docker", "kill", victim)
        docker.said("docker", "kill", "--signal", "CONT", *(each for each in workers if each != victim))
        self.all_succeeded(count)
        last = self.runs()["last"]
        taken_over = [run for run, worker in held.items() if worker == name]
        assert name not in {last[run] for run in taken_over}
        self.hosts_accept()
        self.compose("up", "-d", "--no-build", "--scale", "web=2", "--scale", "worker=3")
        return f"6 of 6 succeeded, {len(taken_over)} of them taken over from it"

    def restart_servers(self) -> str:
        statuses: Counter[int] = Counter()
        is_over = threading.Event()

        def load() -> None:
            while not is_over.wait(0.1):
                statuses[self.browser.status("/all/overview/")] += 1

        thread = threading.Thread(target=load)
        thread.start()
        try:
            # Asked for while no worker works, so that none is over when the servers go.
            workers = self.containers("worker")
            docker.said("docker", "kill", "--signal", "STOP", *workers)
            count = self.rotate_all()
            docker.said("docker", "kill", "--signal", "CONT", *workers)
            self.compose("restart", "-t", "0", "database", "broker")
            self.wait(lambda: self._quiet() != -1, "the database")
            self.all_succeeded(count)
            self.wait(lambda: self.browser.status("/healthz") == 200, "worker and beat again")
        finally:
            is_over.set()
            thread.join()
        self.hosts_accept()
        assert set(statuses) <= {200, 503}, statuses
        met = f"of {statuses.total()} requests meanwhile {statuses[503]} were answered 503, the others 200"
        return f"6 of 6 succeeded; {met}"

    def states_apart(self) -> None:
        self.compose("stop", "worker")
        self.wait(lambda: self.browser.status("/healthz") == 503, "the installation to miss its workers")
        assert self.browser.status("/readyz") == 200
        assert {self.health(container) for container in self.containers("web")} == {"healthy"}
        self.compose("start", "worker")
        self.wait(lambda: self.browser.status("/healthz") == 200, "the workers again")

    def metrics(self) -> str:
        """The service of the profile `metrics`: nothing without the token."""
        profile = ("--profile", "metrics")
        self.compose(*profile, "up", "-d", "--no-build", "--no-deps", "metrics")
        self.wait(lambda: self._metrics("not-the-token")[0] == 401, "metrics to be refused without the token")
        status, text = self._metrics(self.token)
        assert status == 200
        assert "keyturn_" in text
        (container,) = self.compose(*profile, "ps", "-q", "metrics").split()
        self.wait(lambda: self.health(container) == "healthy", "metrics healthy")
        self.compose(*profile, "rm", "--force", "--stop", "metrics")
        return f"{sum(not line.startswith('#') for line in text.splitlines())} series; 401 without the token"

    def _metrics(self, token: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", METRICS, timeout=30)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def upgrade(self) -> str:
        before = set(self.containers("web") + self.containers("worker"))
        (self.folder / "console" / "upgraded.py").write_text("# a file of the next version\n")
        self.build()
        self.compose("up", "-d", "--no-build", "--scale", "web=2", "--scale", "worker=3")
        self.wait(lambda: self.browser.status("/healthz") == 200, "the new version")
        after = set(self.containers("web") + self.containers("worker"))
        assert len(after) == 5
        assert not before & after
        assert self.compose("exec", "-T", "web", "ls", "console/upgraded.py")
        assert self.browser.status("/all/overview/") == 200  # still signed in
        self.hosts_accept()
        count = self.rotate_all()
        self.all_succeeded(count)
        self.hosts_accept()
        return "every container replaced, the session and the values kept, 6 of 6 rotated after it"

    def logs_are_clean(self) -> str:
        printed = self.compose("logs", "--no-color")
        lines = [
            line.partition("| ")[2]
            for line in printed.splitlines()
            if re.match(r"(keyturn_)?(web|worker|beat)_", line)
        ]
        assert len(lines) > 10
        plain = [line for line in lines if not line.startswith("{")]
        assert plain == [], plain[:20]
        assert MARK not in printed
        assert len(self.values) > 6
        assert [line for line in printed.splitlines() if any(value in line for value in self.values)] == []
        return f"{len(lines)} lines of web, worker and beat, all JSON; no query string, no value"

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans")
        assert docker.said("docker", "ps", "-aq").split() == []
        assert docker.said("docker", "volume", "ls", "-q").split() == []
        assert "keyturn" not in docker.said("docker", "network", "ls")

    def run(self) -> None:
        self.write_files()
        self.step("images of web, worker, beat and proxy are built", self.build)
        self.step("`up` on an empty machine, to the sign-in page", self.up)
        self.step("every container healthy", self.all_healthy)
        self.step("first sign-in through the proxy, by TLS", self.sign_in)
        self.step("two instances and six accounts registered", self.register)
        self.step("**Rotate Immediately** through the proxy", self.rotate_through_the_proxy)
        self.step("a worker killed in the middle of six rotations", self.kill_a_worker)
        self.step("PostgreSQL and Redis restarted in the middle of six rotations", self.restart_servers)
        self.step("all workers stopped: web stays ready, the installation is not whole", self.states_apart)
        self.step("the service of the profile `metrics`", self.metrics)
        self.step("the logs of all that", self.logs_are_clean)  # an upgrade takes them away
        self.step("upgrade to another image", self.upgrade)
        self.step("the logs since", self.logs_are_clean)
        self.step("`down`: no container, volume or network left", self.down)


def record(figures: list[tuple[str, str]]) -> None:
    """Put the figures into docs/evidence.md, in place of those of the last time."""
    path = docker.CHECKOUT / "docs" / "evidence.md"
    text = path.read_text()
    rows = "".join(f"| {what} | {figure} |\n" for what, figure in figures)
    section = (
        f"{HEAD}\n\nThe production shape in real containers, on two cores: `./keyturn test --in-containers`. "
        f"The images stand on a Debian made by debootstrap; "
        f"an upgrade is another image with no migration in it.\n\n"
        f"| what | figure |\n|---|---|\n{rows}"
    )
    before, found, after = text.partition(HEAD)
    rest = re.search(r"^## ", after, re.MULTILINE)
    following = "\n" + after[rest.start() :] if found and rest else ""
    path.write_text(f"{before.rstrip()}\n\n{section}{following}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="keyturn test --in-containers", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the figures to docs/evidence.md")
    parser.add_argument(
        "--outages", type=float, default=0, metavar="MINUTES",
        help="instead, ask through the proxy for so long while PostgreSQL, Redis and web containers go",
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=50, help="requests a second with --outages")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("The containers need root: run it with sudo.", file=sys.stderr)
        return 1
    if lacking := docker.missing():
        print(f"These Debian packages are missing: {' '.join(lacking)}", file=sys.stderr)
        return 1
    if not os.environ.get(docker.INSIDE):
        # With this machine's network, which is not there later.
        print("... base image and wheels", flush=True)
        docker.base_tar()
        docker.wheels()
    docker.enter_namespace("tests.containers")
    began = time.monotonic()
    with docker.daemon() as folder:
        docker.make_images(docker.base_tar(), docker.wheels(), folder)
        trial = Trial(folder)
        try:
            if options.outages:
                from tests.containers import outages

                return outages.run(folder, options.outages, options.rate)
            trial.run()
        except BaseException as error:
            print(f"FAILED: {error!r}", file=sys.stderr, flush=True)
            for service in ("setup", "web", "worker", "beat", "proxy", "database"):
                try:
                    print(trial.compose("logs", "--no-color", "--tail", "25", service), file=sys.stderr)
                except docker.Failed as error:
                    print(error, file=sys.stderr)
            raise
        trial.figures.append(("all of it", f"{time.monotonic() - began:.0f} s"))
    if options.record:
        record(trial.figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
