"""A real host, a secret on it, and workers that can be killed, broken and stopped; and what must hold then.

Workers are forks of the test's process: the same code, a process of its own for the operating system, and no
start-up time. The assertions are named after the promises of the fault suite, A-REC to A-NOLEAK.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from lab import Host
from lab.hosts import _crypt as crypt
from rotation import runs, tasks
from rotation.connectors import base
from rotation.connectors.ssh import answers, shell
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine, failpoints
from rotation.inventory import management
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.models import AuditEvent, Label, Secret, SecretVersion
from secrets_app.secrets import versions
from tests import factories, lab_instances, services
from tests.lab_fixtures import KeyPair
from tests.wires.relay import Relay

PASSWORD, KEY_PAIR = "password", "key_pair"
KINDS = (PASSWORD, KEY_PAIR)
OLD = "the-old-password-1"
LEASE = timedelta(seconds=2)
PATIENCE = 60.0  # seconds in which a run must settle once the fault is over
OTHERS = [f"{key_pairs.generate('ed25519').public_key} {who}@else" for who in ("somebody", "nobody")]


NewRig = Callable[..., "Rig"]


@dataclass
class Rig:
    """One managed account on one real host, reached through a relay."""

    kind: str
    host: Host
    key: KeyPair
    relay: Relay
    instance: Instance
    secret: Secret
    output: Path  # what the workers print
    username: str = "svc"
    surroundings: dict[str, str] = field(default_factory=dict)

    # -- work ---------------------------------------------------------------------------------

    def rotate(self, **options: object) -> Run:
        return runs.start(self.secret, actor=factories.administrator(), **options)  # type: ignore[arg-type]

    def advance(self, run: Run) -> bool:
        """Take the run up in this process, if it is due and free; False where it is not."""
        carried = engine.advance(
            run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner(), lease=LEASE
        )
        return carried is not None

    def worker(self, run: Run, place: str = "", fault: Callable[[], object] | None = None) -> int:
        """Start a worker on the run that meets `fault` at `place`; return its process id."""

        def work() -> None:
            if place and fault:
                at(place, fault)
            self.advance(run)

        return self.fork(work)

    def fork(self, work: Callable[[], object]) -> int:
        """Do `work` in a process of its own; its exit status is 0, or 1 where it raised."""
        connections.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            return pid
        status = 1
        try:
            kept = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(kept, 1)
            os.dup2(kept, 2)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as the test
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def settle(self, run: Run, *, patience: float = PATIENCE) -> Run:
        """Play the workers that come after the fault, until the run has ended."""
        deadline = time.monotonic() + patience
        while True:
            run = Run.objects.select_related("version").get(pk=run.pk)
            if not run.is_active:
                return run
            assert time.monotonic() < deadline, f"not settled: {run.state} {run.code} {run.sentence}"
            if not self.advance(run):
                time.sleep(0.05)

    # -- what is there ------------------------------------------------------------------------

    def stored(self) -> dict[str, versions.Value]:
        """Every version that can be opened, by its id."""
        kept = SecretVersion.objects.filter(secret=self.secret, destroyed_at=None)
        return {str(version.pk): versions.value(version) for version in kept}

    def labelled(self, role: str) -> versions.Value | None:
        version = self.secret.labelled(role)
        return versions.value(version) if version else None

    def current(self) -> versions.Value:
        found = self.labelled(Label.Role.CURRENT)
        assert found is not None
        return found

    def accepts(self, value: versions.Value) -> bool:
        """Whether the host has it: by crypt(3), or by the key's blob; no login, nothing counted."""
        return opens(self.seen(), value)

    def seen(self) -> str:
        """What the host accepts, as its files have it now."""
        if self.kind == PASSWORD:
            return self.host.shadow(self.username)
        path = Path(f"/proc/{self.host.pid}/root/home/{self.username}/.ssh/authorized_keys")
        return path.read_text()

    def logs_in(self, value: versions.Value) -> bool:
        """Log in for real; a refusal stands in the host's log."""
        connector = SshConnector(management.endpoint(self.instance))
        login = base.Login(self.username, password=value.password, private_key=value.private_key)
        return connector.prove_login(login, timeout=15).verdict == base.Verdict.ACCEPTED

    @property
    def account(self) -> ManagedAccount:
        return ManagedAccount.objects.get(secret=self.secret)

    def marks(self) -> list[int]:
        """The generations that this host has been told, by the fence's file."""
        kind = "password" if self.kind == PASSWORD else "key"
        path = f"/var/lib/keyturn/{self.secret.account_id}/{self.username}.{kind}"
        try:
            return [int(self.host.read(path))]
        except FileNotFoundError:
            return []


def opens(seen: str, value: versions.Value) -> bool:
    """Whether this shadow field, or this text of authorized_keys, lets `value` in."""
    if value.password is not None:
        return seen.startswith("$") and crypt(value.password.reveal(), seen) == seen
    return value.public_key.split()[1] in seen.split()


def build(
    kind: str,
    host: Host,
    key: KeyPair,
    relay: Relay,
    output: Path,
    *,
    has_value: bool = True,
    username: str = "svc",
    instance: Instance | None = None,
) -> Rig:
    """Make the account on the host and the secret that manages it, with its first value verified."""
    pair = key_pairs.generate("ed25519")
    aged = ("--lastday", "2026-01-05", "--maxdays", "9000", "--warndays", "9")
    if kind == PASSWORD:
        host.add_account(username, password=OLD, authorized_keys=OTHERS, ageing=aged)
    else:
        lines = [OTHERS[0], f"no-pty {pair.public_key} svc", OTHERS[1]]
        host.add_account(username, authorized_keys=lines, ageing=aged)
    instance = instance or lab_instances.register(host, key, at=relay)
    initial = (OLD if kind == PASSWORD else pair.private_key.reveal()) if has_value else None
    options = {"key_algorithm": "ed25519"} if kind == KEY_PAIR else {}
    secret = factories.secret(instance=instance, initial=initial, kind=kind, username=username, **options)
    factories.settle(secret)
    rig = Rig(kind, host, key, relay, instance, secret, output, username)
    rig.surroundings = surroundings(rig)
    return rig


# -- faults ------------------------------------------------------------------------------------


class Broken(RuntimeError):
    """What no line of the product expects."""


def die() -> None:
    """As `kill -9` or the out-of-memory killer: no chance to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Stop, as a machine that is suspended; SIGCONT lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fail() -> NoReturn:
    """Raise what nothing catches."""
    raise Broken


FAULTS: dict[str, Callable[[], object]] = {"kill": die, "exception": fail, "hang": hang}
_undo: list[Callable[[], object]] = []


def at(place: str, fault: Callable[[], object]) -> None:
    """Have this process meet `fault` once at `place`: a failpoint, or an instant of `_PLACES`."""
    met: list[str] = []

    def once() -> None:
        if not met:
            met.append(place)
            fault()

    if arm := _PLACES.get(place):
        arm(place, once)
    else:
        failpoints.arm(place, once)


def disarm() -> None:
    """Make this process meet no fault any more."""
    failpoints.disarm()
    while _undo:
        _undo.pop()()


def replace(owner: object, name: str, other: object) -> None:
    """Put `other` in the place of an attribute until `disarm`."""
    kept = getattr(owner, name)
    setattr(owner, name, other)
    _undo.append(lambda: setattr(owner, name, kept))


def _on_the_wire(place: str, fault: Callable[[], None]) -> None:
    """Meet the fault while the new value goes to the host: in a line, between two, or after the last."""
    tell, change = shell.Conversation.tell, answers.change
    changes: list[bool] = []  # a value that is only asked about goes the same way

    def changed(*args: Any, **options: Any) -> str:
        changes.append(True)
        try:
            return change(*args, **options)
        finally:
            changes.pop()

    def torn(self: shell.Conversation, content: bytes) -> None:
        if not changes or not content.endswith(b" COMMIT\n"):
            return tell(self, content)
        lines = content.splitlines(keepends=True)
        sent = {
            "half_line": lines[0][: len(lines[0]) // 2],
            "line_without_commit": b"".join(lines[:-1]),
            "before_reply": content,
        }[place]
        tell(self, sent)
        # The bytes have to be on their way before the process is gone.
        time.sleep(0.1)
        fault()
        return tell(self, content[len(sent) :]) if sent != content else None

    replace(answers, "change", changed)
    replace(shell.Conversation, "tell", torn)


def _before_send(_: str, fault: Callable[[], None]) -> None:
    """Meet the fault after the last look at the lease and before the connection that tells the host."""

    def late(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*args: object, **options: object) -> None:
            fault()
            try:
                change(*args, **options)
            except base.Stale:
                os.write(1, b"STALE\n")  # sys.stdout is pytest's
                raise

        return changed

    for name in ("set_password", "add_key"):
        replace(SshConnector, name, late(getattr(SshConnector, name)))


#: Where a transaction of the engine commits: what it has written by then, and after which failpoint.
_COMMITS = {
    "create_commit": ("after_claim", 'INSERT INTO "secrets_app_secretversion"'),
    "intent_commit": ("after_preflight", 'UPDATE "secrets_app_secretversion"'),
    "finish_commit": ("before_finish", 'UPDATE "secrets_app_label"'),
}


def _in_commit(place: str, fault: Callable[[], None]) -> None:
    """Meet the fault when a transaction has written everything, in place of its COMMIT."""
    after, statement = _COMMITS[place]
    commit = BaseDatabaseWrapper._commit
    reached: list[str] = []

    def watch(execute: Callable[..., object], sql: str, *rest: object) -> object:
        if "come" in reached and sql.startswith(statement):
            reached.append("written")
        return execute(sql, *rest)

    def commits(self: BaseDatabaseWrapper) -> object:
        if reached[-1:] == ["written"]:
            reached.append("done")
            fault()
        return commit(self)

    def come() -> None:
        if not reached:
            reached.append("come")
            connection.execute_wrappers.append(watch)
            _undo.append(lambda: connection.execute_wrappers.remove(watch))

    failpoints.arm(after, come)
    replace(BaseDatabaseWrapper, "_commit", commits)


_PLACES: dict[str, Callable[[str, Callable[[], None]], None]] = {
    **dict.fromkeys(("half_line", "line_without_commit", "before_reply"), _on_the_wire),
    "before_send": _before_send,
    **dict.fromkeys(_COMMITS, _in_commit),
}


def kill_backend() -> None:
    """End this connection's own server process, as an administrator or the out-of-memory killer would."""
    number = connection.connection.info.backend_pid
    with psycopg.connect(_address(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [number])


def commit_and_die() -> None:
    """Send COMMIT, and be gone before its answer."""
    raw = connection.connection.pgconn
    raw.send_query(b"COMMIT")
    while raw.flush():
        time.sleep(0.001)
    time.sleep(0.2)
    die()


def commit_and_lose() -> None:
    """Send COMMIT, and lose the connection before its answer."""
    raw = connection.connection.pgconn
    raw.send_query(b"COMMIT")
    while raw.flush():
        time.sleep(0.001)
    time.sleep(0.2)
    raw.finish()


def ended(pid: int, *, patience: float = PATIENCE) -> int:
    """Wait for a worker; return its exit status, or minus the signal that ended or stopped it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            return -os.WSTOPSIG(status)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the worker neither ended nor stopped")


EXPECTED = {"kill": -signal.SIGKILL, "exception": 1, "hang": -signal.SIGSTOP, "backend": 1}


@contextlib.contextmanager
def struck(rig: Rig, run: Run, place: str, fault: str) -> Iterator[None]:
    """Have a worker meet the fault; the block is what comes after. A hung worker wakes at its end.

    What a worker that wakes up writes to the database and to the host is compared: it must be nothing.
    """
    pid = rig.worker(run, place, kill_backend if fault == "backend" else FAULTS[fault])
    status = ended(pid)
    assert status == EXPECTED[fault], (status, rig.output.read_text()[-3000:])
    if fault != "hang" or place not in _COMMITS:  # else the row is locked
        expire(run)
    try:
        yield
    finally:
        if fault == "hang":
            before = written(rig), rig.seen()
            os.kill(pid, signal.SIGCONT)
            status = ended(pid)
            assert status in (0, 1), status
            assert (written(rig), rig.seen()) == before, "a worker that was overtaken has written"


def written(rig: Rig) -> dict[str, object]:
    """All that a worker writes, to compare."""
    secret = rig.secret
    return {
        "runs": list(Run.objects.filter(secret=secret).order_by("pk").values()),
        "steps": [list(run.steps.values()) for run in Run.objects.filter(secret=secret).order_by("pk")],
        "versions": list(secret.versions.order_by("pk").values()),
        "labels": list(Label.objects.filter(secret=secret).order_by("role").values()),
        "account": ManagedAccount.objects.filter(secret=secret).values().get(),
        "events": list(AuditEvent.objects.order_by("pk").values_list("pk", flat=True)),
    }


def moved_to(server: services.Postgres) -> Iterator[services.Postgres]:
    """Have Django's default database be a copy on `server` of what it is now, until the generator goes on."""
    programs = services.postgres_programs()
    words = [str(programs / "pg_dump"), "--no-owner", _address()]
    dumped = subprocess.run(words, capture_output=True, check=True, timeout=PATIENCE).stdout
    loading = [str(programs / "psql"), "-q", "-v", "ON_ERROR_STOP=1", server.url]
    subprocess.run(loading, input=dumped, capture_output=True, check=True, timeout=PATIENCE)
    kept = dict(connection.settings_dict)
    connections.close_all()
    # In place, since every thread's connection shares this mapping.
    connection.settings_dict |= {"HOST": "127.0.0.1", "PORT": str(server.port), "NAME": "keyturn"}
    try:
        yield server
    finally:
        connections.close_all()
        connection.settings_dict |= kept


def through(store: Relay) -> None:
    """Have this thread reach the database through a relay, on a connection of its own."""
    connection.close()
    connection.settings_dict = connection.settings_dict | {"HOST": store.address, "PORT": str(store.port)}


def store_relay() -> Relay:
    """A relay in front of the database."""
    return Relay(connection.settings_dict["HOST"], int(connection.settings_dict["PORT"]))


# -- A-REC -------------------------------------------------------------------------------------


_DURABLE = "SELECT id FROM secrets_app_secretversion WHERE secret_id = %s AND sealed_id IS NOT NULL"


class Sampler:
    """Looks all the time at what the host accepts, and which versions are durable at that instant."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._address = _address()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.samples = 0
        self.states: dict[str, set[str]] = {}  # what was seen -> the versions that were committed then

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(PATIENCE)

    def _watch(self) -> None:
        while not self._enough.is_set():
            with contextlib.suppress(OSError, KeyError):
                seen = self._rig.seen()
                self.samples += 1
                if seen not in self.states:
                    self.states[seen] = self._durable()
            self._enough.wait(0.02)

    def _durable(self) -> set[str]:
        """By a connection of its own: it sees what is committed. A database that is away is asked again."""
        while True:
            try:
                with psycopg.connect(self._address, autocommit=True, connect_timeout=2) as store:
                    rows = store.execute(_DURABLE, [self._rig.secret.pk]).fetchall()
                return {str(row[0]) for row in rows}
            except psycopg.OperationalError:
                if self._enough.wait(0.1):
                    raise


def _address() -> str:
    kept = connection.settings_dict
    return f"postgresql://{kept['USER']}@{kept['HOST']}:{kept['PORT']}/{kept['NAME']}"


@contextlib.contextmanager
def recoverable(rig: Rig) -> Iterator[Sampler]:
    """A-REC: at every instant of the block the host accepts a version that was durable then, and opens."""
    with Sampler(rig) as sampler:
        yield sampler
    assert sampler.samples > 0
    stored = rig.stored()
    for seen, durable in sampler.states.items():
        held = [value for name, value in stored.items() if name in durable]
        assert any(opens(seen, value) for value in held), "the host accepts nothing that is stored"
    assert any(rig.accepts(value) for value in stored.values())


# -- A-KNOW, A-ONE, A-PROBE, A-SIDE, A-NOLEAK ----------------------------------------------------


def assert_known(rig: Rig, run: Run) -> None:
    """A-KNOW: what the console says is what is true on the host."""
    run = Run.objects.get(pk=run.pk)
    assert not run.is_active
    current, told = rig.labelled(Label.Role.CURRENT), run.version and rig.stored().get(str(run.version_id))
    state = rig.account.credential
    if state == ManagedAccount.Credential.IN_SYNC:
        assert current is not None
        assert rig.accepts(current)
    if state == ManagedAccount.Credential.OUT_OF_SYNC:
        assert current is None or not rig.accepts(current)
    if run.outcome == Run.Outcome.SUCCEEDED and run.kind == Run.Kind.ROTATE:
        assert state == ManagedAccount.Credential.IN_SYNC
        assert run.truth == Run.Truth.NEW
    match run.truth:
        case Run.Truth.NEW:
            assert told is not None
            assert rig.accepts(told)
        case Run.Truth.OLD:
            assert current is not None
            assert rig.accepts(current)
        case Run.Truth.NEITHER:
            assert not any(rig.accepts(value) for value in (current, told) if value)


def assert_one(rig: Rig, *, rotations: int = 1) -> None:
    """A-ONE: each rotation promoted one version and wrote one terminal event; nothing is left pending."""
    roles = sorted(Label.objects.filter(secret=rig.secret).values_list("role", flat=True))
    assert roles == ["current", "previous"], roles
    assert rig.secret.versions.count() == 1 + rotations
    ends = AuditEvent.objects.filter(action="kms:RotationEnded", outcome="succeeded")
    assert ends.count() == rotations
    for run in Run.objects.filter(secret=rig.secret, kind=Run.Kind.ROTATE):
        assert AuditEvent.objects.filter(action="kms:RotationEnded", details__run=str(run.pk)).count() == 1


def failed_logins(rig: Rig) -> int:
    return rig.host.sshd_log().count(f"Failed password for {rig.username} ")


def assert_probes(rig: Rig, budget: int = 0) -> None:
    """A-PROBE: no more counting failed logins than the budget; the usual way makes none."""
    assert failed_logins(rig) <= budget


def surroundings(rig: Rig) -> dict[str, str]:
    """What a rotation has no business with: the account's ageing, groups, shell, files, and other keys."""
    user = rig.username
    ours = {value.public_key.split()[1] for value in rig.stored().values() if value.public_key}
    keys = rig.host.authorized_keys(user).splitlines()
    entry = next(
        line for line in rig.host.read("/etc/shadow").splitlines() if line.startswith(f"{user}:")
    ).split(":")
    script = f"""passwd -S {user} | cut -d' ' -f2; getent passwd {user}; id {user}; cat /etc/group
        ls -laR /etc/sudoers.d --time-style=+; cat /etc/sudoers /etc/sudoers.d/*
        stat -c '%n %a %U %G' /etc/shadow /etc/passwd /home/{user} /home/{user}/.ssh /home/{user}/.ssh/*"""
    return {
        "files": rig.host.run(["sh", "-c", script]).stdout.decode(),
        "ageing": ":".join(entry[3:] if rig.kind == PASSWORD else entry[2:]),
        "keys": "\n".join(line for line in keys if not ours & set(line.split())),
    }


def assert_undisturbed(rig: Rig) -> None:
    """A-SIDE: nothing about the account has changed but its credential."""
    assert surroundings(rig) == rig.surroundings


def assert_nowhere(rig: Rig, *places: Path) -> None:
    """A-NOLEAK: no value stands in a log, a table, a file of ours, or a file of the host's."""
    words = [_sought(value) for value in rig.stored().values()]
    assert words
    texts = {"output": rig.output.read_text() if rig.output.exists() else "", "sshd": rig.host.sshd_log()}
    texts |= {str(path): path.read_text(errors="replace") for path in places}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT string_agg(t::text, chr(10)) FROM "{table}" t')  # noqa: S608
            texts[table] = (cursor.fetchone() or [""])[0] or ""
    for place, text in texts.items():
        assert not any(word in text for word in words), f"a value stands in {place}"
    # Standard input, since an argument would put the values where this looks for them.
    command = ["grep", "-rlFsI", "-f", "-", "/etc", "/home", "/root", "/run", "/tmp", "/var"]
    found = rig.host.run(command, "\n".join(words).encode(), check=False).stdout.decode()
    assert not found, f"a value stands on the host in {found}"


def _sought(value: versions.Value) -> str:
    """The part of a value that is nowhere else: a password, or a line from a private key's middle."""
    if value.password is not None:
        return value.password.reveal()
    lines = value.private_key.reveal().strip().splitlines()  # type: ignore[union-attr]
    # The first lines of a private key hold the public half too.
    return re.sub(r"\s", "", lines[-2] if len(lines[-2]) >= 40 else lines[-3])


def assert_settled(rig: Rig, run: Run) -> None:
    """The whole of it after one rotation that was broken and ended in success."""
    run = Run.objects.get(pk=run.pk)
    assert run.outcome == Run.Outcome.SUCCEEDED, (run.outcome, run.code, run.sentence)
    assert_known(rig, run)
    assert_one(rig)
    assert_probes(rig)
    assert_undisturbed(rig)
    assert_nowhere(rig)


def expire(run: Run) -> None:
    """Let the lease be over, where what a test shows is not the waiting."""
    Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(leased_until=Now())
