"""How many rotations a second the workers carry, beside a plain script and Ansible on the same hosts.

A slice of Keyturn's (each host once, through real Celery workers), one of the script's and, for passwords,
two of an installed Ansible's take turns, so that what else this machine does slows all of them. Beside the
rates it counts what one rotation costs: connections in the hosts' own logs, statements and commits in the
workers, processor time of the client and of the hosts.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from console.management.commands import up
from console.process.supervisor import die_with
from lab import Fleet, Host, Spec
from rotation import runs, tasks
from rotation.models import Run
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from tests import factories, lab_instances, networks, services
from tests.bench import recorded
from tests.bench.ansible import PROGRAM, Ansible
from tests.bench.scripts import Script
from tests.chaos.hosts import Target, prepare_both
from tests.chaos.naive import FIRST
from tests.lab_fixtures import KeyPair

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0  # seconds in which a slice ends
LOOK = 0.2
STILL = 1.0  # seconds without a task after which the workers have nothing left to do
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
KINDS = (Secret.Kind.PASSWORD, Secret.Kind.KEY_PAIR)


@dataclass
class Cost:
    """What some rotations took of everything; the milliseconds are processor time."""

    rotations: int = 0
    seconds: float = 0.0
    connections: int = 0
    statements: int = 0
    commits: int = 0
    client_ms: float = 0.0
    hosts_ms: float = 0.0
    processes: int = 0  # of the hosts

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def rate(self) -> float:
        return self.rotations / self.seconds


# -------------------------------------------------------------------- what is read from the machine


def _ticks(pid: int) -> int:
    """Processor time of a process and of its children that have ended, see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return sum(int(number) for number in fields[11:15])


def _hosts_ms(hosts: Iterable[Host]) -> float:
    """Processor time of all that ever ran in these hosts: each process there is waited for by another."""
    spaces = {os.stat(f"/proc/{host.pid}/ns/pid").st_ino for host in hosts}
    ticks = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if os.stat(f"/proc/{entry}/ns/pid").st_ino in spaces:
                ticks += _ticks(int(entry))
    return ticks * TICK_MS


def _connections(hosts: Iterable[Host]) -> int:
    return sum(host.sshd_log().count("Connection from ") for host in hosts)


def _processes(hosts: Iterable[Host]) -> int:
    """How many processes these hosts have started so far: the number of the newest, which asks."""
    return sum(int(host.run(["sh", "-c", "echo $$"]).stdout) for host in hosts)


# -------------------------------------------------------------------- the workers


class Workers:
    """Worker processes of the product with so many threads together, which count what they do."""

    def __init__(self, folder: Path, at_once: int) -> None:
        names = up._workers()[:at_once]
        threads = str(math.ceil(at_once / len(names)))
        self._log = (folder / "workers.log").open("ab")
        self._counts = [folder / f"{name}-{at_once}.counts" for name in names]
        self._running = [
            self._start(str(counts), *up._worker(name), "-c", threads)
            for name, counts in zip(names, self._counts, strict=True)
        ]
        deadline = time.monotonic() + PATIENCE
        while not all(counts.exists() and counts.stat().st_size for counts in self._counts):
            if time.monotonic() > deadline or any(one.poll() is not None for one in self._running):
                self.end()
                raise SystemExit(f"the workers do not start: {folder / 'workers.log'}")
            time.sleep(LOOK)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        return subprocess.Popen(
            [sys.executable, "-m", "tests.bench.counted_worker", *words],
            cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            process_group=0, preexec_fn=lambda: die_with(parent),
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running]

    def rest(self) -> None:
        """Return when no task has ended for a while: what a run leaves to do is a part of its cost."""
        sizes, since = None, time.monotonic()
        while time.monotonic() - since < STILL:
            time.sleep(LOOK)
            now = [counts.stat().st_size for counts in self._counts]
            if now != sizes:
                sizes, since = now, time.monotonic()

    def counted(self) -> tuple[int, int]:
        """Return the statements and the commits so far."""
        last = [counts.read_text().splitlines()[-1].split() for counts in self._counts]
        return sum(int(line[0]) for line in last), sum(int(line[1]) for line in last)

    def end(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()


# -------------------------------------------------------------------- the slices


@dataclass
class Place:
    """Everything that a slice needs: hosts, their accounts and the scripts for them."""

    hosts: list[Host]
    targets: Sequence[Target | Recorded]
    scripts: list[Script]
    ansible: Ansible | None = None
    failed: Counter[str] = field(default_factory=Counter)
    asked: int = 0  # how often each host was asked for its newest process, by a process of its own

    @contextlib.contextmanager
    def read(self, workers: Workers | None) -> Iterator[Cost]:
        """Yield a cost that holds, once the block has ended, what the block took."""
        cost = Cost()
        before = self._so_far(workers)
        yield cost
        if workers:
            workers.rest()
        else:
            time.sleep(STILL)  # the hosts end the last sessions
        vars(cost).update(vars(self._so_far(workers) - before + cost))

    def _so_far(self, workers: Workers | None) -> Cost:
        self.asked += 1
        statements, commits = workers.counted() if workers else (0, 0)
        client = sum(map(_ticks, workers.pids)) * TICK_MS if workers else time.process_time() * 1000
        return Cost(
            connections=_connections(self.hosts), statements=statements, commits=commits,
            client_ms=client, hosts_ms=_hosts_ms(self.hosts),
            processes=_processes(self.hosts) - self.asked * len(self.hosts),
        )  # fmt: skip

    def rotate(self, kind: str, workers: Workers, most: int | None = None) -> Cost:
        """Rotate the account of this kind on each host, or on so many, through the workers."""
        targets = [target for target in self.targets if target.secret.kind == kind][:most]
        actor = factories.administrator()
        started = {runs.start(target.secret, actor=actor).pk: target for target in targets}
        with self.read(workers) as cost:
            began = timezone.now()
            for pk in started:
                tasks.advance.delay(str(pk))
            ended = _ended(list(started))
            cost.seconds = (max(run.ended_at for run in ended) - began).total_seconds()
        for run in ended:
            done = run.outcome == Run.Outcome.SUCCEEDED and started[run.pk].has(run.version_id)
            cost.rotations += done
            self.failed.update([] if done else [f"{run.outcome} {run.code}"])
        return cost

    def script(self, kind: str, at_once: int) -> Cost:
        """Have the script do the same to its own account on each host, on so many threads."""
        with self.read(None) as cost, ThreadPoolExecutor(at_once) as pool:
            began = time.monotonic()
            password = kind == Secret.Kind.PASSWORD
            list(pool.map(lambda one: one.password() if password else one.key_pair(), self.scripts))
            cost.seconds, cost.rotations = time.monotonic() - began, len(self.scripts)
        return cost

    def play(self, ansible: Ansible, at_once: int, *, pipelining: bool) -> Cost:
        """Have Ansible give the script's account on each host another password."""
        with self.read(None) as cost:
            took = ansible.play(at_once, pipelining=pipelining)
            cost.seconds, cost.client_ms, cost.rotations = took.seconds, took.client_ms, len(self.hosts)
        return cost


def _ended(pks: list[object]) -> list[Run]:
    """Return these runs when all have ended; one that was put off is sent again when it is due."""
    deadline = time.monotonic() + PATIENCE
    sent_again: set[object] = set()
    while time.monotonic() < deadline:
        found = list(Run.objects.filter(pk__in=pks))
        if not any(run.is_active for run in found):
            return found
        waiting = {run.pk for run in found if run.state == Run.State.WAITING and run.due_at < timezone.now()}
        for pk in waiting - sent_again:
            tasks.advance.delay(str(pk))
        sent_again = waiting
        time.sleep(LOOK)
    raise SystemExit(f"rotations do not end: {Counter((run.state, run.code) for run in found)}")


# -------------------------------------------------------------------- the whole


def measure_on(store: str, words: Sequence[str], part: str = "throughput", *, workers: int = 0) -> None:
    """Measure in a process of its own, on an empty store of this kind, with the usual workers or so many."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-bench-"))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "KEYTURN_TEST_DATA": folder,
        }
        for name in ("KEYTURN_TEST_DATABASE_URL", "KEYTURN_DATABASE_URL", "KEYTURN_BROKER_URL"):
            environment.pop(name, None)
        if workers:
            environment["KEYTURN_WORKERS"] = str(workers)
        if store == "postgresql":
            environment["KEYTURN_TEST_DATABASE_URL"] = stack.enter_context(services.postgres()).url
            environment["KEYTURN_BROKER_URL"] = stack.enter_context(services.redis_server()).url
        command = [sys.executable, "-m", "tests.bench", *words, "--only", part, "--here"]
        subprocess.run(command, env=environment, check=True)


def measure(hosts: int, at_once: Sequence[int], slices: int, ansible: Path | None) -> None:
    """Print a row for each kind and number at once, on the store of these settings.

    `ansible` is an installed `ansible-playbook` to measure beside, if there is one.
    """
    key = KeyPair.generate()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder) / "fleet") as fleet:
        started = fleet.start_many(hosts, Spec(public_key=key.public))
        targets = [target for host in started for target in prepare_both(host, key)]
        beside = Ansible(ansible, Path(folder) / "ansible", started, key) if ansible else None
        place = Place(started, targets, [Script(host, key) for host in started], beside)
        broker = settings.BROKER_URL.partition(":")[0]
        print(f"{hosts} hosts on {os.cpu_count()} cores, {connection.vendor}, {broker} broker")
        if beside:
            print(f"beside {beside.version}; passwords only, as it has no module for key files", flush=True)
            beside.play(at_once[0], pipelining=False)  # what it does once
        else:
            print(f"beside Ansible      not measured: no {PROGRAM} on PATH, nor by --ansible", flush=True)
        for number in at_once:
            workers = Workers(Path(folder), number)
            try:
                for kind in KINDS:
                    # What a host does once a day is over then, and what each thread does once.
                    place.rotate(kind, workers, None if number == at_once[0] else number)
                    _measure_row(place, kind, number, slices, workers)
            finally:
                workers.end()


def _measure_row(place: Place, kind: str, at_once: int, slices: int, workers: Workers) -> None:
    place.failed.clear()
    ours, plain = Cost(), Cost()
    plays = {pipelining: Cost() for pipelining in (False, True) if kind == Secret.Kind.PASSWORD}
    for _ in range(slices):
        ours += place.rotate(kind, workers)
        plain += place.script(kind, at_once)
        if place.ansible:
            for pipelining in plays:
                plays[pipelining] += place.play(place.ansible, at_once, pipelining=pipelining)
    if not ours.rotations:
        raise SystemExit(f"no rotation succeeded: {dict(place.failed)}")
    print(
        f"{kind}, {at_once} at once: {ours.rate:.2f} a second, script {plain.rate:.2f}, "
        f"ratio {ours.rate / plain.rate:.2f}; {ours.rotations} rotations"
    )
    print(f"    each  {_each(ours)}; {ours.statements / ours.rotations:.1f} statements", end="")
    print(f", {ours.commits / ours.rotations:.1f} commits")
    print(f"  script  {_each(plain)}", flush=True)
    for pipelining, theirs in plays.items() if place.ansible else ():
        print(f"  Ansible{', pipelining' * pipelining}: {theirs.rate:.2f} a second, ", end="")
        print(f"ratio {ours.rate / theirs.rate:.2f}; {_each(theirs)}", flush=True)
    for what, count in place.failed.items():
        print(f"    {count} not counted: {what}", flush=True)


def _each(cost: Cost) -> str:
    read = (cost.client_ms, cost.hosts_ms, cost.connections, cost.processes)
    client, hosts, opened, started = (number / cost.rotations for number in read)
    return (
        f"{opened:.1f} connections; CPU {client:.0f} ms of the client, {hosts:.0f} ms of the hosts; "
        f"{started:.0f} processes there"
    )


# -------------------------------------------------------------------- hosts that answer from a recording


@dataclass
class Recorded:
    """A secret whose account is on a host that answers from a recording."""

    secret: Secret

    def has(self, version_pk: object) -> bool:
        """Whether the account is open to this version: a rotation succeeds only if it logs in there."""
        return True


def measure_recorded(hosts: int, at_once: int, slices: int) -> None:
    """Print how many rotations a second one worker process makes where its hosts take no time."""
    key, old = KeyPair.generate(), key_pairs.generate("ed25519")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with Fleet(Path(folder) / "fleet") as fleet:
            host = fleet.start_many(1, Spec(public_key=key.public))[0]
            said = recorded.rotated(host, key, FIRST, old.public_key)
        port = services.free_port()
        speaks = stack.enter_context(recorded.served(said, FIRST, old.public_key, port, hosts))
        targets = [target for number in range(hosts) for target in _registered(number, port, key, old)]
        place = Place([], targets, [])
        workers = Workers(Path(folder), at_once)
        stack.callback(workers.end)
        broker = settings.BROKER_URL.partition(":")[0]
        print(f"{hosts} recorded hosts on {os.cpu_count()} cores, {connection.vendor}, {broker} broker")
        print(f"{len(workers.pids)} worker process, {at_once} at once", flush=True)
        for kind in KINDS:
            place.rotate(kind, workers)
            place.failed.clear()
            ours, others = Cost(), Counter[str]()
            for _ in range(slices):
                before = _beside(speaks)
                ours += place.rotate(kind, workers)
                others.update(_beside(speaks) - before)
            _print_recorded(place, kind, ours, others)


def _beside(speaks: int) -> Counter[str]:
    """Ticks so far of what takes the processor beside the worker: what speaks for the hosts, the database."""
    ticks = Counter({"the hosts' process": _ticks(speaks)})
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            backend = int(cursor.fetchone()[0])
        server = _parent(backend)
        ours = [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if _parent(int(pid)) == server]
        ticks["PostgreSQL"] = sum(map(_ticks, {server, *ours} - {backend}))
    return ticks


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _print_recorded(place: Place, kind: str, ours: Cost, others: Counter[str]) -> None:
    if not ours.rotations:
        raise SystemExit(f"no rotation succeeded: {dict(place.failed)}")
    each = {"the worker": ours.client_ms} | {who: ticks * TICK_MS for who, ticks in others.items()}
    took = ", ".join(f"{ms / ours.rotations:.0f} ms of {who}" for who, ms in each.items())
    print(
        f"{kind}: {ours.rate:.2f} a second of {ours.rotations}; CPU {took} each; "
        f"{ours.statements / ours.rotations:.1f} statements, {ours.commits / ours.rotations:.1f} commits",
        flush=True,
    )
    for what, count in place.failed.items():
        print(f"    {count} not counted: {what}", flush=True)


def _registered(number: int, port: int, key: KeyPair, old: key_pairs.KeyPair) -> Iterator[Recorded]:
    """One of the hosts, and a secret of each kind on it."""
    place = networks.endpoint(recorded.address(number), port)
    instance = factories.instance(
        name=f"recorded-{number}", address=place.address, port=port, keys=[],
        credential=factories.credential(private_key=key.private),
    )  # fmt: skip
    lab_instances.approve(instance)
    made = [factories.secret(instance=instance, username=recorded.PASSWORDS, initial=FIRST)]
    pair = {"kind": "key_pair", "key_algorithm": "ed25519", "initial": old.private_key.reveal()}
    made.append(factories.secret(instance=instance, username=recorded.KEYS, **pair))
    for secret in made:
        factories.settle(secret)
        yield Recorded(secret)
