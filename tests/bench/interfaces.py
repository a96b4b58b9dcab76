"""How many values programs read in a second by each interface, beside a bare program and a public double.

Sixteen clients call GetSecretValue, each on a connection of its own. In turn, so that a machine that is busy
for a while slows all: Keyturn's real web server by the interface of AWS and by that of Alibaba Cloud; `bare`,
which has the same database and does nothing but the signature, the decision, the audit row and the
decryption; and moto, which checks no signature and records nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import boto3
from django.db import connection

from secrets_app.models import AuditEvent, Policy
from secrets_app.people import access_keys, machines
from secrets_app.policy import policies
from tests import factories, services
from tests.bench import bare
from tests.waiting import wait_for
from tests.web_process import CHECKOUT, Web

CLIENTS, SECRETS, ROUNDS = 16, 32, 15
VALUE = '{"user": "shop", "password": "correct-horse-battery"}'
GOAL, GOAL_P99 = 0.8, 150  # of the bare program's calls; milliseconds
SUBJECTS = ("aws", "alibaba", "bare", "moto")


class Calls:
    """What clients of one subject have measured, and what the processor did for them."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.taken: list[float] = []
        self.used: list[
            tuple[float, ...]
        ] = []  # milliseconds of a call: the server, the database, the client

    def add(self, found: Mapping[str, object], server: float, database: float) -> None:
        taken: list[float] = found["taken"]  # type: ignore[assignment]
        self.rates.append(len(taken) / float(str(found["seconds"])))
        self.taken += taken
        used = (server, database, float(str(found["processor"])))
        self.used.append(tuple(milliseconds / len(taken) for milliseconds in used))

    @property
    def processor(self) -> str:
        server, database, client = (statistics.median(part) for part in zip(*self.used, strict=True))
        return f"{server:.2f} ms of the processor there, {database:.2f} in the database, {client:.2f} here"

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.taken, n=100)[98]


def measure(calls: int, minutes: float) -> None:
    """Print what each subject answers, `calls` in a round; then the web's memory over so many minutes."""
    names = [f"bench/reads-{number:02d}" for number in range(SECRETS)]
    for name in names:
        factories.generic_secret(name=name, value=VALUE)
    actor = factories.administrator()
    machine = machines.create("bench-reader", actor=actor)
    policies.attach(Policy.objects.get(name="SecretUser"), machine, actor=actor)
    key, secret = access_keys.create(machine, actor=actor)
    given = "\n".join([key.key_id, secret.reveal(), *names])
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        log = Path(folder)
        web = Web(log / "web.log", settings="tests.bench.settings", config="console.process.web")
        stack.callback(web.end)
        web.wait()
        bare_port, bare_pid = stack.enter_context(_bare(key.key_id, secret.reveal(), names))
        moto_port, moto_pid = stack.enter_context(_moto(key.key_id, secret.reveal(), names))
        ports = {"aws": web.port, "alibaba": web.port, "bare": bare_port, "moto": moto_port}
        pids = {"aws": web.pid, "alibaba": web.pid, "bare": bare_pid, "moto": moto_pid}
        database = _database()
        before = AuditEvent.objects.filter(action="kms:GetSecretValue").count()
        found = {name: Calls() for name in SUBJECTS}
        for name in SUBJECTS:
            _call(name, ports[name], given, calls // 4)
        for turn in range(ROUNDS):
            for name in SUBJECTS[turn % 4 :] + SUBJECTS[: turn % 4]:
                server, store = processor_ms(pids[name]), processor_ms(database)
                answered = _call(name, ports[name], given, calls)
                server, store = processor_ms(pids[name]) - server, processor_ms(database) - store
                found[name].add(answered, server, store)
        _say(found)
        made = AuditEvent.objects.filter(action="kms:GetSecretValue").count() - before
        asked = 2 * (ROUNDS * (calls // CLIENTS) + calls // 4 // CLIENTS) * CLIENTS
        if made != asked:
            raise SystemExit(f"{asked} values were read, and {made} reads are in the trail")
        if minutes:
            _measure_memory(web, given, calls, minutes)


def _say(found: Mapping[str, Calls]) -> None:
    base = found["bare"].rates
    for name in SUBJECTS:
        calls = found[name]
        ratio = statistics.median(a / b for a, b in zip(calls.rates, base, strict=True))
        goal = f" (goal: {GOAL}, p99 {GOAL_P99} ms)" if name in {"aws", "alibaba"} else ""
        times = f"p50 {statistics.median(calls.taken):.0f} ms, p99 {calls.p99:.0f} ms on {connection.vendor}"
        print(
            f"reads by {name:<10} {calls.rate:4.0f} a second with {CLIENTS} clients, {ratio:.2f} times the "
            f"bare program's; {times}{goal}; {calls.processor}, load {os.getloadavg()[0]:.0f}",
            flush=True,
        )


def processor_ms(pid: int) -> float:
    """What the processor has done for this process and all it has started, in milliseconds."""
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    children = (folder / f"task/{pid}/children").read_text().split()
    # Its own, and that of its children which have ended.
    ticks = sum(int(field) for field in fields[11:15])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK") + sum(processor_ms(int(child)) for child in children)


def _database() -> int:
    """The process that started each of the database's, on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])


def _call(name: str, port: int, given: str, calls: int) -> dict[str, object]:
    kind = "ACS3" if name == "alibaba" else "AWS"
    region = "us-east-1" if name == "moto" else "local-1"
    words = [kind, str(port), region, str(CLIENTS), str(calls // CLIENTS)]
    command = [sys.executable, "-m", "tests.bench.callers", *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def _measure_memory(web: Web, given: str, calls: int, minutes: float) -> None:
    """What the web's processes hold, from when they are warm to the end."""
    began, sizes = time.monotonic(), [_held_mib(web.workers())]
    number = 0
    while time.monotonic() < began + minutes * 60:
        for name in ("aws", "alibaba"):
            number += len(_call(name, web.port, given, calls)["taken"])  # type: ignore[arg-type]
        sizes.append(_held_mib(web.workers()))
    half = len(sizes) // 2
    earlier = statistics.mean(sizes[1 : half + 1])
    print(
        f"memory of the web   {sizes[0]:.0f} MiB at first, {earlier:.0f} on average in the first half of "
        f"{minutes:g} minutes and {statistics.mean(sizes[half:]):.0f} in the second, {sizes[-1]:.0f} at the "
        f"end, {number:,} reads",
        flush=True,
    )


def _held_mib(processes: Sequence[int]) -> float:
    """What these processes hold for themselves, in MiB."""
    lines = [
        line
        for pid in processes
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith(("Private_Clean", "Private_Dirty"))
    ]
    return sum(int(line.split()[1]) for line in lines) / 1024


@contextlib.contextmanager
def _bare(key_id: str, secret: str, names: list[str]) -> Iterator[tuple[int, int]]:
    url, port = os.environ["KEYTURN_TEST_DATABASE_URL"], services.free_port()
    url = f"{url.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    bare.prepare(url, key_id, names, VALUE)
    command = [sys.executable, "-m", "tests.bench.bare", url, str(port)]
    with _program(command, port, f"{key_id} {secret}\n") as pid:
        yield port, pid


@contextlib.contextmanager
def _moto(key_id: str, secret: str, names: list[str]) -> Iterator[tuple[int, int]]:
    port = services.free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _program(command, port, "") as pid:
        client = boto3.client(
            "secretsmanager", endpoint_url=f"http://localhost:{port}", region_name="us-east-1",
            aws_access_key_id=key_id, aws_secret_access_key=secret,
        )  # fmt: skip
        for name in names:
            client.create_secret(Name=name, SecretString=VALUE)
        yield port, pid


@contextlib.contextmanager
def _program(command: Sequence[str], port: int, given: str) -> Iterator[int]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        cwd=CHECKOUT, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdin
        process.stdin.write(given)
        process.stdin.close()
        wait_for(lambda: _listens(port), "the program")
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
