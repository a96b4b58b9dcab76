"""Ask so many times a second while what serves goes: `./keyturn chaos --outages 10 --on postgresql`.

PostgreSQL is restarted every 30 seconds, Redis is killed or flushed every 20, and one of three web processes
is killed every five, every sixth of them with its gunicorn. Behind the proxy of docker-compose.yml, programs
read values, a user opens pages and starts rotations, and schedules fall due while nothing runs. At the end
all of it is away at once.

A request may be refused with 503 and Retry-After, and with nothing else. A run in which none was refused has
proved nothing, and fails. The parts are processes on this machine; those of `tests.containers.outages` are
containers.
"""

from __future__ import annotations

import bisect
import http.client
import io
import json
import queue
import random
import re
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import redis
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection

from lab import Fleet, Spec
from rotation import schedules
from rotation.models import Run, Schedule
from secrets_app.audit import audit_keys
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey, Secret
from secrets_app.people import access_keys, users
from tests import factories, sigv4
from tests.chaos.hosts import Target, Watched, prepare_both
from tests.chaos.served import Served
from tests.e2e.served import PASSWORD, Browser
from tests.lab_fixtures import KeyPair

STATIC = 20  # secrets whose value never changes
READERS = 4  # programs, each with an access key: none reads as often as it may in ten minutes
THREADS = 48  # clients that wait for an answer at the same time
RESTART_EVERY, REDIS_EVERY, KILL_EVERY, DUE_EVERY = 30.0, 20.0, 5.0, 30.0
AWAY = 2.0  # seconds for which a server stays away
PATIENCE = 120.0  # seconds in which everything is done after the end, on a crowded machine
TOO_LATE = 10.0  # seconds after which a request that was to be sent is left out
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Read:
    """A value that a program was given, and when it asked and was answered."""

    secret: str
    began: float
    ended: float
    value: str


class Serving(Protocol):
    """What serves, whatever it runs in."""

    port: int  # of the proxy, on this machine
    web: Sequence[str]  # the names of the web processes

    def start(self) -> None:
        """Start all of it and return when it says that it is whole."""
        ...

    def look_after(self) -> None:
        """Start what does not run."""
        ...

    def kill(self, name: str) -> None:
        """As `kill -9` of a process with all that it started."""
        ...

    def kill_what_serves(self, name: str) -> None:
        """As `kill -9` of the process under a gunicorn, if there is one just now."""
        ...

    def is_whole(self) -> bool:
        """Whether web, worker, beat, database and broker work, as the console says."""
        ...

    def said(self) -> str:
        """All that was logged."""
        ...

    def end(self) -> None: ...


class Store(Protocol):
    """A PostgreSQL that goes and comes back."""

    def stop(self) -> None: ...
    def start(self) -> None: ...


class Queue(Protocol):
    """A Redis that goes and comes back."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def client(self) -> redis.Redis: ...


class Reader:
    """A program with an access key, which signs as AWS's clients do."""

    def __init__(self, number: int, port: int) -> None:
        actor = factories.administrator()
        made: tuple[AccessKey, Plaintext] = access_keys.create(
            factories.user(f"reader-{number}", "administrators").principal, actor=actor
        )
        self._key_id, self._own = made[0].key_id, made[1].reveal()
        self._port = port

    def read(self, secret: str) -> tuple[int, str | None, str, str]:
        """Return the status, Retry-After, the value, empty if there is none, and the text. Raises OSError."""
        body = json.dumps({"SecretId": secret}).encode()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        sent = {
            "content-type": JSON, "host": f"localhost:{self._port}", "x-amz-date": stamp,
            "x-amz-target": "secretsmanager.GetSecretValue",
        }  # fmt: skip
        given = ("POST", "/aws/", "")
        made = sigv4.signature(self._own, stamp, "main", "secretsmanager", given, sent, sigv4.sha256(body))
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._key_id}/{stamp[:8]}/main/secretsmanager/aws4_request, "
            f"SignedHeaders={';'.join(sorted(sent))}, Signature={made}"
        )
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=90)
        try:
            line.request("POST", "/aws/", body, sent)
            answer = line.getresponse()
            text = answer.read()
        finally:
            line.close()
        if answer.status != 200:
            return answer.status, answer.headers["Retry-After"], "", text.decode(errors="replace")
        return 200, None, str(json.loads(text)["SecretString"]), ""


class Outages:
    """So many minutes of requests and outages, and what came of them."""

    def __init__(self, minutes: float, rate: float, seed: int | None, store: Store, queue_: Queue) -> None:
        self._seconds, self._rate = minutes * 60, rate
        self._random = random.Random(seed)
        self._store, self._queue = store, queue_
        self._answers, self._faults = Counter[str](), Counter[str]()
        self._wrong: list[str] = []
        self._reads: list[Read] = []
        self._times: list[float] = []
        self._broken_at = float("-inf")
        self._lock = threading.Lock()
        self._later: list[tuple[float, Callable[[], None]]] = []

    def run(self, folder: Path, hosts: int) -> int:
        """All of it as processes of this machine, with so many hosts of the lab."""
        call_command("setup", stdout=io.StringIO())
        key = KeyPair.generate()
        with Fleet(folder / "fleet") as fleet:
            targets: list[Target] = []
            for host in fleet.start_many(hosts, Spec(public_key=key.public)):
                targets += prepare_both(host, key)
            return self.among(targets, Served(folder))

    def among(self, targets: Sequence[Watched], served: Serving) -> int:
        """Ask what serves, with accounts that have a value; return 0 where all went well."""
        self._targets, self._served = targets, served
        users.create("dot", Plaintext(PASSWORD), groups=["administrators"], must_change_password=False)
        self._static = {f"fixed-{n:02d}": uuid.uuid4().hex for n in range(STATIC)}
        for name, value in self._static.items():
            factories.generic_secret(name=name, value=value)
        try:
            served.start()
            self._readers = [Reader(n, served.port) for n in range(READERS)]
            self._browser = Browser(served.port)
            assert self._browser.sign_in().status == 302
            self._storm()
            took = self._recover()
            return self._report(*took)
        finally:
            served.end()

    # ---------------------------------------------------------------- requests

    def _storm(self) -> None:
        asked: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        clients = [
            threading.Thread(target=self._client, args=(asked, n), daemon=True) for n in range(THREADS)
        ]
        for client in clients:
            client.start()
        self._began = began = time.monotonic()
        due = {
            self._restart_the_store: began + RESTART_EVERY / 2,
            self._break_the_queue: began + REDIS_EVERY / 2,
            self._kill_a_web: began + KILL_EVERY,
            self._let_some_fall_due: began + 1,
        }
        every = {
            self._restart_the_store: RESTART_EVERY, self._break_the_queue: REDIS_EVERY,
            self._kill_a_web: KILL_EVERY, self._let_some_fall_due: DUE_EVERY,
        }  # fmt: skip
        number = 0
        while (now := time.monotonic()) < began + self._seconds:
            while number < (now - began) * self._rate:
                asked.put(began + number / self._rate)
                number += 1
            for work, at in due.items():
                if at <= now:
                    due[work] = at + every[work]
                    work()
            self._do_what_is_later()
            self._served.look_after()
            time.sleep(0.02)
        for _ in clients:
            asked.put(None)
        for client in clients:
            client.join()
        self._asking = time.monotonic() - began

    def _client(self, asked: queue.SimpleQueue[float | None], number: int) -> None:
        draw = random.Random(f"{number} {self._random.random()}")
        while (due := asked.get()) is not None:
            began = time.monotonic()
            if began - due > TOO_LATE:
                self._note("not asked: the machine was too slow for this rate")
                continue
            try:
                self._ask(draw)
            except (OSError, http.client.HTTPException) as error:
                self._note("no answer", f"{type(error).__name__}: {error}")
            with self._lock:
                self._times.append(time.monotonic() - began)
                self._answers["late"] += began - due > 1.0

    def _ask(self, draw: random.Random) -> None:
        kind = draw.random()
        if kind < 0.75:
            self._read(draw.choice(list(self._static)), draw)
        elif kind < 0.87:
            self._read(draw.choice(self._targets).secret.name, draw)
        elif kind < 0.995:
            secret = draw.choice(self._targets).secret
            pages = ("overview/", "secrets/", f"secrets/{secret.pk}/", "rotations/")
            page = draw.choice(pages)
            answer = self._browser.get(f"/main/{page}")
            self._judge(
                f"page {page.partition('/')[0]}",
                answer.status,
                answer.headers["Retry-After"],
                {200},
                answer.text,
            )
        else:
            secret = draw.choice(self._targets).secret
            path = f"/main/secrets/{secret.pk}/rotate/"
            answer = self._browser.post(path, reason="routine", token=uuid.uuid4().hex)
            # 409: another rotation of it goes on.
            self._judge("rotate", answer.status, answer.headers["Retry-After"], {302, 409}, answer.text)

    def _read(self, name: str, draw: random.Random) -> None:
        began = time.monotonic()
        status, again, value, text = draw.choice(self._readers).read(name)
        self._judge("read", status, again, {200}, text)
        if status != 200:
            return
        if name in self._static:
            if value != self._static[name]:
                self._note("wrong value", name)
        else:
            with self._lock:
                self._reads.append(Read(name, began, time.monotonic(), value))

    def _judge(self, what: str, status: int, again: str | None, good: set[int], text: str) -> None:
        if status in good:
            self._note(f"{what} answered")
        elif status == 503 and again:
            self._note("503 with Retry-After")
            by_proxy = "Keyturn does not answer now" in text
            since = time.monotonic() - self._broken_at
            away = "while PostgreSQL was away or started" if since < AWAY + 3 else "else"
            self._note(f"503 of {'the proxy' if by_proxy else 'a web process'}, {away}")
        else:
            self._note(f"{what}: {status}" + ("" if status != 503 else " without Retry-After"), what)

    def _note(self, what: str, wrong: str = "") -> None:
        with self._lock:
            self._answers[what] += 1
            if wrong:
                self._wrong.append(f"{time.monotonic() - self._began:.1f} s: {what} ({wrong})")

    # ---------------------------------------------------------------- outages

    def _do_what_is_later(self) -> None:
        for entry in [entry for entry in self._later if entry[0] <= time.monotonic()]:
            self._later.remove(entry)
            entry[1]()

    def _restart_the_store(self) -> None:
        self._faults["PostgreSQL restarted"] += 1
        self._broken_at = time.monotonic()
        connection.close()
        self._store.stop()
        self._later.append((time.monotonic() + AWAY, self._store.start))

    def _break_the_queue(self) -> None:
        if self._faults["Redis killed"] <= self._faults["Redis flushed"]:
            self._faults["Redis killed"] += 1
            self._queue.kill()
            self._later.append((time.monotonic() + AWAY, self._queue.start))
        else:
            self._faults["Redis flushed"] += 1
            self._queue.client().flushall()

    def _kill_a_web(self) -> None:
        """The process that serves, which gunicorn has again at once; every sixth time gunicorn too."""
        name, number = self._random.choice(self._served.web), self._faults["web process killed"]
        self._faults["web process killed"] += 1
        if number % 6 == 5:
            self._faults["of these, with its gunicorn"] += 1
            self._served.kill(name)
        else:
            self._served.kill_what_serves(name)

    def _let_some_fall_due(self) -> None:
        """Schedules whose next date is in the middle of what breaks next."""
        self._fall_due(self._random.sample(self._targets, max(1, len(self._targets) // 2)), seconds=14)

    def _fall_due(self, targets: Sequence[Watched], *, seconds: float) -> int:
        made = 0
        try:
            for target in targets:
                schedule = Schedule.objects.get(secret=target.secret)
                schedules.change(
                    target.secret, revision=schedule.revision, is_on=True, period=schedule.period,
                    actor=factories.administrator(), next_at=schedules.now() + timedelta(seconds=seconds),
                )  # fmt: skip
                made += 1
        except (DatabaseError, InterfaceError, schedules.Outdated):
            connection.close()  # it is away, or the schedule has just started its rotation
        self._answers["schedules that fell due"] += made
        return made

    # ---------------------------------------------------------------- the end

    def _recover(self) -> tuple[float, float]:
        """All is away at once while schedules fall due; then all of it is started, and nothing else done.

        Return the seconds from when the console says that it is whole until every schedule that
        was due has begun and until no run goes on.
        """
        for _, work in self._later:
            work()
        self._later.clear()
        self._until(lambda: self._fall_due(self._targets, seconds=3) == len(self._targets))
        connection.close()
        for name in self._served.web:
            self._served.kill(name)
        self._queue.kill()
        self._store.stop()
        time.sleep(2 * AWAY)
        started = time.monotonic()
        self._store.start()
        self._queue.start()
        came: list[str] = []
        for what, path in (("a web process", "/livez"), ("pages and values", "/readyz"), ("all", "/healthz")):
            self._until(lambda path=path: Browser(self._served.port).probe(path) == 200)  # type: ignore[misc]
            came.append(f"{what} after {time.monotonic() - started:.1f} s")
        self._came_back = ", ".join(came)
        recovered = time.monotonic()
        self._until(lambda: not self._overdue())
        begun = time.monotonic()
        self._until(lambda: not Run.objects.active().exists())
        return begun - recovered, time.monotonic() - recovered

    def _overdue(self) -> bool:
        return Schedule.objects.filter(is_on=True, next_at__lte=schedules.now()).exists()

    def _until(self, is_so: Callable[[], bool]) -> None:
        limit = time.monotonic() + settings.LEASE.total_seconds() + PATIENCE
        while True:
            self._served.look_after()
            try:
                if is_so():
                    return
            except (DatabaseError, InterfaceError):
                connection.close()
            if time.monotonic() > limit:
                self._wrong.append("what was to come did not come after the end")
                return
            time.sleep(0.1)

    def _look_at_reads(self) -> None:
        """Each value was one of its secret's own, and none came after a newer one had been answered."""
        by_secret = defaultdict(list)
        for read in self._reads:
            by_secret[read.secret].append(read)
        for target in self._targets:
            secret = Secret.objects.get(pk=target.secret.pk)
            # By their marks, which stay when an old value is destroyed.
            marks = secret.versions.order_by("created_at").values_list("value_mark", flat=True)
            order = {mark: number for number, mark in enumerate(marks)}
            ends: list[float] = []
            newest: list[int] = []  # of what had been answered by each of these ends
            for read in sorted(by_secret[secret.name], key=lambda read: read.ended):
                had = json.loads(read.value)
                number = order.get(_mark(had), -1)
                before = bisect.bisect_left(ends, read.began)
                if number < 0 or (before and number < newest[before - 1]):
                    self._note("wrong value", secret.name)
                ends.append(read.ended)
                newest.append(max(number, newest[-1] if newest else number))
            current = secret.labelled("current")
            if target.is_lost() or current is None or not target.has(current.pk):
                self._wrong.append(f"lost or untrue: {target.place}")

    def _report(self, begun: float, done: float) -> int:
        self._look_at_reads()
        counts = self._answers
        asked = len(self._times)
        print(f"asked          {asked} times in {self._asking:.0f} s, {asked / self._asking:.1f} a second")
        for name, count in sorted(counts.items()):
            print(f"               {count:6d} {name}")
        times = sorted(self._times)
        print(f"an answer took p50 {times[asked // 2]:.2f} s, p99 {times[asked * 99 // 100]:.2f} s")
        print("faults")
        for name, count in self._faults.most_common():
            print(f"               {count:6d} {name}")
        outcomes = Counter(Run.objects.values_list("kind", "outcome", "code"))
        print(f"rotations      {sum(outcomes.values())}")
        for (kind, outcome, code), count in outcomes.most_common():
            print(f"               {count:6d} {kind} {outcome} {code}")
        print(f"values of rotating secrets that were read and compared: {len(self._reads)}")
        print(f"all away at once, then started: {self._came_back}; from then on, all that was due")
        print(f"               has begun after {begun:.1f} s and ended after {done:.1f} s")
        log = self._served.said()
        tracebacks = len(re.findall(r"^\s*(?:\| )?Traceback", log, re.MULTILINE))
        print(f"log            {len(log.splitlines())} lines, {tracebacks} tracebacks")
        print(f"wrong          {len(self._wrong)}")
        for line in self._wrong[:30]:
            print(f"               {line}")
        if not counts["503 with Retry-After"]:
            print("void: no request met an outage")
        return 1 if self._wrong or not counts["503 with Retry-After"] else 0


def _mark(told: dict[str, str]) -> str:
    """What stands for a value in its version's row, made of what a program was told."""
    if "PrivateKey" in told:
        return audit_keys.mark(b"key\0" + told["PublicKey"].strip().encode())
    return audit_keys.mark(b"text\0" + told["Password"].encode())
