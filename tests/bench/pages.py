"""Server time of lists, search and the overview over 100,000 secrets and 1,000,000 runs.

Every sort, every filter and the last page of Secrets, Rotations and Instances, search in the lists and in the
bar, and the overview. A machine that is busy makes the wall clock say more than the server needs: beside it
stands the processor time of this process and of the database's, which other programs do not lengthen much.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

from django.db import connection
from django.test import Client
from django.utils import timezone

from console.lists import instance_list, run_filters, secret_filters
from console.process import web
from rotation.models import Run
from secrets_app.models import Secret, User
from tests import factories
from tests.bench import rows, stores

GOAL = {"sqlite": 150, "postgresql": 50}  # milliseconds, of the 95th percentile
ALL = "/all/"


def measure(secrets: int, rounds: int, part: str) -> None:
    """Print the 50th and 95th percentile of each page whose name has `part` in it, in milliseconds."""
    rows.fill(secrets)
    client = _reader()
    web.post_worker_init(None)  # as in a worker of the web server
    goal, slow = GOAL[connection.vendor], 0
    print(
        f"{Secret.objects.count():,} secrets and {Run.objects.count():,} runs on {connection.vendor}, "
        f"milliseconds, {rounds} rounds (goal: p95 {goal}), load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    for name, url in _pages():
        if part in name:
            slow += _print(client, name, url, rounds) > goal
    print(f"{slow} pages above the goal", flush=True)


def measure_on_postgres(secrets: int, rounds: int, part: str) -> None:
    """The same in a process of its own, on a cluster of its own."""
    words = ("--rows", str(secrets), "--rounds", str(rounds), "--page", part)
    stores.on_postgres("pages", *words)


def _reader() -> Client:
    client = Client()
    name = "reads-pages"
    client.force_login(User.objects.filter(username=name).first() or factories.user(name, "administrators"))
    return client


def _pages() -> Iterator[tuple[str, str]]:
    """Each page's name and address."""
    yield "overview", f"{ALL}overview/"
    yield "overview of a region", "/main/overview/"
    last = {"secrets": Secret.objects.count() // 25, "rotations": Run.objects.count() // 25}
    day = timezone.localdate() - timedelta(days=7)
    for thing, sorts in (
        ("secrets", secret_filters.SORTS),
        ("rotations", run_filters.SORTS),
        ("instances", instance_list.SORTS),
    ):
        for sort, sign in itertools.product(sorts, ("", "-")):
            yield f"{thing} by {sign}{sort}", f"{ALL}{thing}/?{urlencode({'sort': sign + sort})}"
        yield f"{thing}, last page", f"{ALL}{thing}/?{urlencode({'page': last.get(thing, 9_999_999)})}"
        yield f"{thing}, after the last page", f"{ALL}{thing}/?page=9999999"
    for thing, filters in (
        ("secrets", _SECRETS),
        ("rotations", {**_RUNS, "since": [day.isoformat()], "until": [day.isoformat()]}),
        ("instances", _INSTANCES),
    ):
        for field, values in filters.items():
            for value in values:
                yield f"{thing}, {field}={value}", f"{ALL}{thing}/?{urlencode({field: value})}"
    for text in _TEXTS:
        yield f"bar, {text}", f"/search/?{urlencode({'q': text})}"


#: Texts of which many, few, one or no names have a part; of two characters, which no trigram has.
_TEXTS = ("web", "web-0123", "payments-099", "nothing-like-this", "10.0.7", "we", "prod", "user1", "Bench")
_SECRETS = {
    "q": _TEXTS,
    "credential": ("in_sync", "out_of_sync", "drifted", "unverified", "rotating", "no_value"),
    "kind": ("password", "key_pair"),
    "status": ("enabled", "pending_deletion", "deleted"),
    "automatic": ("on", "off", "overdue"),
    "instance": ("bench-host-00077",),
    "user": ("user3",),
    "tag": ("env=prod", "env"),
    "key": ("acs/secrets",),
}
_RUNS = {
    "q": _TEXTS,
    "kind": ("rotate", "verify", "drift", "check"),
    "outcome": ("active", "succeeded", "failed", "blocked", "missed"),
    "trigger": ("schedule", "manual", "retry"),
    "instance": ("bench-host-00077",),
}
_INSTANCES = {"q": _TEXTS, "status": ("ready", "unreachable", "blocked", "new", "retired")}


def _print(client: Client, name: str, url: str, rounds: int) -> float:
    _page(client, url)
    walls, began, database = [], time.process_time(), _database()
    for _ in range(rounds):
        start = time.perf_counter()
        _page(client, url)
        walls.append((time.perf_counter() - start) * 1000)
    used = (time.process_time() - began) * 1000 / rounds
    beside = (_database() - database) * 1000 / rounds
    p95 = statistics.quantiles(walls, n=20, method="inclusive")[18]
    mark = " <" if p95 > GOAL[connection.vendor] else ""
    print(
        f"{name:<40} p50 {statistics.median(walls):6.0f}  p95 {p95:6.0f}  processor {used:6.0f} "
        f"and {beside:6.0f} of the database{mark}",
        flush=True,
    )
    return p95


def _page(client: Client, url: str) -> None:
    answer = client.get(url)
    if answer.status_code != 200:
        raise SystemExit(f"{url} answered {answer.status_code}")


def _database() -> float:
    """Seconds of the processor so far, of the server process that works for this one. SQLite has none."""
    if connection.vendor != "postgresql":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
