"""A PostgreSQL and a Redis of the tests' own, which they may kill: on loopback, in a temporary folder.

`python -m tests.services -- COMMAND` runs a command with both and ends them with it. A server dies with the
process that started it, however that one ends, and never was anybody else's.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import redis

PATIENCE = 60.0  # seconds in which a server is up, or down
USER = "keyturn"  # of the databases; trusted on 127.0.0.1, which is all that the servers listen on
BINARIES = Path("/usr/lib/postgresql")
UNSAFE = ("fsync=off", "full_page_writes=off")  # quicker; for a cluster that nobody breaks
TEMPLATE = "KEYTURN_TEST_CLUSTER"  # an empty cluster that was made once, to be copied


class Missing(Exception):
    """A program that the tests start is not installed; the message says what to do."""


def postgres_programs() -> Path:
    """Return the folder of the newest PostgreSQL here. Raises `Missing`."""
    found = sorted(BINARIES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise Missing(
            "The tests need PostgreSQL: apt-get install postgresql (./keyturn test does it as root)."
        )
    return found[-1].parent


def redis_program() -> str:
    """Return the path of redis-server. Raises `Missing`."""
    if found := shutil.which("redis-server"):
        return found
    raise Missing("The tests need Redis: apt-get install redis-server (./keyturn test does it as root).")


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class _Server:
    """A process in the foreground that is ours, and ends when we do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def _leashed(self, command: Sequence[str], user: str = "") -> None:
        leash = ["setpriv", "--pdeathsig", "KILL"]
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            leash += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )

    def _until(self, is_up: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.answers() is not is_up:
            ended = self._process is None or self._process.poll() is not None
            if time.monotonic() > deadline or (is_up and ended):
                said = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{type(self).__name__} did not {'start' if is_up else 'end'}: {said}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and return when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def answers(self) -> bool:
        raise NotImplementedError


class Postgres(_Server):
    """One cluster with a database `keyturn`."""

    def __init__(self, folder: Path, *, small_disk: bool = False, options: Sequence[str] = ()) -> None:
        """Make the cluster in `folder`; with `small_disk` it has a tablespace `small` of 16 MiB."""
        super().__init__(folder)
        self._programs = postgres_programs()
        self._user = "postgres" if _exists("postgres") else "nobody"
        self._cluster = folder / "cluster"
        self._small = folder / "small" if small_disk else None
        self._options = tuple(word for option in options for word in ("-c", option))
        self._make()

    @property
    def url(self) -> str:
        return self.url_of("keyturn")

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def _make(self) -> None:
        template = Path(os.environ.get(TEMPLATE, ""))
        if (self._cluster / "PG_VERSION").exists():
            return  # a kept one
        if TEMPLATE in os.environ and template.is_dir():
            shutil.copytree(template, self._cluster)
        else:
            self._cluster.mkdir(mode=0o700)
        _give(self.folder, self._user)
        if not (self._cluster / "PG_VERSION").exists():
            command = [str(self._programs / "initdb"), "--no-sync", "--auth=trust", "--encoding=UTF8"]
            made = subprocess.run(
                [*_as(self._user), *command, "--locale=C.UTF-8", f"--username={USER}", str(self._cluster)],
                capture_output=True,
                cwd="/",
                timeout=PATIENCE,
                check=False,
            )
            if made.returncode:
                raise RuntimeError(f"initdb: {made.stderr.decode(errors='replace')[-2000:]}")

    def start(self) -> None:
        command = [
            str(self._programs / "postgres"), "-D", str(self._cluster), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=500",
            "-c", "shared_buffers=32MB", "-c", "log_lock_waits=on",
            *self._options,
        ]  # fmt: skip
        if self._small:
            self._small.mkdir(exist_ok=True)
            owner = pwd.getpwnam(self._user).pw_uid
            mount = f'mount -t tmpfs -o size=16m,mode=0700,uid={owner} small "{self._small}"; exec "$@"'
            inner = ["setpriv", "--pdeathsig", "KILL", *_as(self._user)[1:], *command]
            # In a mount namespace of its own: with the server the small disk is gone too.
            self._leashed(["unshare", "--mount", "--propagation=private", "sh", "-ec", mount, "sh", *inner])
        else:
            self._leashed(command, self._user)
        self._until(True)
        with self.connect("postgres") as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            if "keyturn" not in known:
                connection.execute("CREATE DATABASE keyturn")
            if (
                self._small
                and not connection.execute("SELECT 1 FROM pg_tablespace WHERE spcname='small'").fetchone()
            ):
                connection.execute(f"CREATE TABLESPACE small LOCATION '{self._small}'")  # type: ignore[arg-type]

    def connect(self, database: str = "keyturn") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=5)

    def answers(self) -> bool:
        try:
            with self.connect("postgres"):
                return True
        except psycopg.OperationalError:
            return False

    def fill_small_disk(self) -> None:
        """Leave not one block on the small disk."""
        with self._filler().open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free_small_disk(self) -> None:
        self._filler().unlink()

    def _filler(self) -> Path:
        assert self._process is not None
        # By way of the server, which alone has it mounted.
        return Path(f"/proc/{self._process.pid}/root{self._small}/filler")

    def restart_immediately(self) -> None:
        """As `pg_ctl restart -m immediate`: the start is a recovery from the log."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`: nothing is flushed, every client is cut off."""
        self.signal(signal.SIGQUIT)


class Redis(_Server):
    """One Redis that keeps nothing on disk, with a database for each test process."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._leashed(
            [redis_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
             "--save", "", "--appendonly", "no", "--daemonize", "no", "--databases", "128"]
        )  # fmt: skip
        self._until(True)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """As `kill -9`: every queued message is gone."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        self.signal(signal.SIGKILL)


@contextlib.contextmanager
def postgres(
    *, small_disk: bool = False, options: Sequence[str] = (), keep: Path | None = None
) -> Iterator[Postgres]:
    """A running cluster, for as long as the block runs; one in the folder `keep` is there again later."""
    with contextlib.nullcontext(_made(keep)) if keep else _folder() as folder:
        server = Postgres(folder, small_disk=small_disk, options=options)
        try:
            server.start()
            yield server
        finally:
            if keep:
                server.signal(signal.SIGINT)  # as `pg_ctl stop -m fast`: nothing to recover later
            else:
                server.stop()


@contextlib.contextmanager
def redis_server() -> Iterator[Redis]:
    """A running Redis, for as long as the block runs."""
    with _folder() as folder:
        server = Redis(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="keyturn-services-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    return folder


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _as(user: str) -> list[str]:
    """The words that make the rest of a command this user's; PostgreSQL refuses to be root's."""
    if os.geteuid() != 0:
        return ["setpriv"]
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _give(folder: Path, user: str) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def main(command: Sequence[str]) -> int:
    """Run a command on both servers, and return its status."""
    # Asked to end, it ends the command too, on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with _folder() as folder, postgres(options=UNSAFE) as store, redis_server() as queue:
            environment = os.environ | {
                "KEYTURN_TEST_DATABASE_URL": store.url,
                "KEYTURN_TEST_BROKER_URL": queue.url,
                TEMPLATE: str(_template(folder)),
            }
            return subprocess.run(command, env=environment, check=False).returncode
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1


def _template(folder: Path) -> Path:
    """An empty cluster to be copied: making one takes longer than many a test."""
    return Postgres(folder)._cluster


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words[1:] if words[:1] == ["--"] else words))
