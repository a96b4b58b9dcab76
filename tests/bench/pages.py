"""Server time of lists, search and the overview over 100,000 secrets, 1,000,000 runs and as many events.

Every sort and every filter of every list, the last page under each sort and under the widest filters, search
in the lists and in the bar, the overview, and the pages of one thing. A machine that is busy makes the wall
clock say more than the server needs: beside it stands the processor time of this process and of the
database's, which other programs do not lengthen much.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

from django import forms
from django.db import connection
from django.test import Client
from django.utils import timezone

from console.forms.access import lists
from console.forms.audit import events
from console.forms.credentials import credentials
from console.forms.instances import instances
from console.forms.rotations import rotations
from console.forms.secrets import secrets
from console.lists import (
    access_lists,
    credential_list,
    instance_list,
    key_list,
    paging,
    region_list,
    run_filters,
    secret_filters,
)
from console.process import web
from rotation.bulk import bulk_actions
from rotation.models import BulkAction, BulkItem, Run
from secrets_app.models import Principal, Secret, User
from tests import factories
from tests.bench import rows, stores

GOAL = {"sqlite": 150, "postgresql": 50}  # milliseconds, of the 95th percentile
ALL = "/all/"
READER = "reads-pages"


def measure(count: int, rounds: int, part: str) -> None:
    """Print the 50th and 95th percentile of each page whose name has `part` in it, in milliseconds."""
    rows.fill(count)
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


def measure_on_postgres(count: int, rounds: int, part: str, *, keep: Path | None) -> None:
    """The same in a process of its own, on a cluster of its own."""
    words = ("--rows", str(count), "--rounds", str(rounds), "--page", part)
    stores.on_postgres("pages", *words, keep=keep / "postgresql" if keep else None)


def _reader() -> Client:
    client = Client()
    known = User.objects.filter(username=READER).first()
    client.force_login(known or factories.user(READER, "administrators"))
    return client


def _pages() -> Iterator[tuple[str, str]]:
    """Each page's name and address."""
    yield "overview", f"{ALL}overview/"
    yield "overview of a region", "/main/overview/"
    for listed in _lists():
        yield from listed.pages()
    for text in _TEXTS:
        yield f"bar, {text}", f"/search/?{urlencode({'q': text})}"
    yield from _single()


@dataclass(frozen=True)
class _List:
    """A list with its sorts and filters, all of them: a field without a text to try here is an error."""

    name: str
    url: str
    sorts: Iterable[str]
    filters: forms.Form | None = None
    texts: Mapping[str, Iterable[str]] = field(default_factory=dict)
    both: Iterable[str] = ()  # filters that leave most rows, to look at the last page under each

    def pages(self) -> Iterator[tuple[str, str]]:
        for sort, sign in itertools.product(self.sorts, ("", "-")):
            yield self._page(f"by {sign}{sort}", sort=sign + sort)
            yield self._page(f"by {sign}{sort}, last page", sort=sign + sort, page=paging.MOST_PAGES)
        yield self._page("as deep as pages reach", page=400)
        for name, value in self._filters():
            yield self._page(f"{name}={value}", **{name: value})
        for one in self.both:
            yield self._page(f"{one}, last page", **dict([one.split("=")]), page=paging.MOST_PAGES)

    def _page(self, name: str, **query: object) -> tuple[str, str]:
        return f"{self.name} {name}", f"{self.url}?{urlencode(query)}"

    def _filters(self) -> Iterator[tuple[str, str]]:
        for name, one in self.filters.fields.items() if self.filters else ():
            if name in self.texts:
                values = list(self.texts[name])
            elif choices := getattr(one, "choices", None):
                values = [value for value, _ in choices if value]
            else:
                raise AssertionError(f"a text is missing for {self.name}, {name}")
            yield from ((name, value) for value in values)


def _lists() -> Iterator[_List]:
    day = (timezone.localdate() - timedelta(days=7)).isoformat()
    week, moment = {"since": [day], "until": [day]}, f"{day}T12:00"
    yield _List(
        "secrets",
        f"{ALL}secrets/",
        secret_filters.SORTS,
        secrets.Filters(None, keys=["acs/secrets"]),
        {"q": _TEXTS, "instance": ["bench-host-00077"], "user": ["user3"], "tag": ["env=prod", "env"]},
        ("credential=in_sync", "kind=password", "automatic=on", "q=web", "tag=env"),
    )
    yield _List(
        "rotations",
        f"{ALL}rotations/",
        run_filters.SORTS,
        rotations.Filters(None),
        {"q": _TEXTS, "instance": ["bench-host-00077"], **week},
        ("kind=rotate", "outcome=succeeded", "trigger=schedule", f"since={day}", "q=web"),
    )
    yield _List(
        "instances", f"{ALL}instances/", instance_list.SORTS, instances.Filters(None), {"q": _TEXTS},
        ("status=ready",),
    )  # fmt: skip
    yield _List(
        "credentials", "/credentials/", credential_list.SORTS, credentials.Filters(None), {"q": _TEXTS[:1]}
    )
    yield _List("keys", "/keys/", key_list.SORTS)
    yield _List("regions", "/settings/regions/", region_list.SORTS)
    yield _List("users", "/access/users/", access_lists.USER_SORTS, lists.Users(None), {"q": ["ann"]})
    yield _List("groups", "/access/groups/", access_lists.GROUP_SORTS, lists.Groups(None), {"q": ["adm"]})
    yield _List(
        "policies", "/access/policies/", access_lists.POLICY_SORTS, lists.Policies(None), {"q": ["full"]}
    )
    yield _List(
        "applications", "/access/applications/", access_lists.APPLICATION_SORTS, lists.Applications(None),
        {"q": ["app"]},
    )  # fmt: skip
    yield _List(
        "access keys", "/access/access-keys/", access_lists.KEY_SORTS, lists.AccessKeys(None), {"q": ["LT"]}
    )
    yield _List("access review", "/access/review/", ["name"])
    texts = {
        "actor": ["ann", "cal", "nobody-of-this-name"],
        "action": ["kms:RotateSecret", "kms:DeleteSecret", "nothing-like-this"],
        "resource": ["secret/acs/ecs/bench-012345", "bench", "nothing-like-this"],
        "address": ["10.0.1.7", "192.0.2.1"],
        "since": [moment],
        "until": [moment],
    }
    yield _List("audit", "/audit/", (), events.Filters(None), texts)


def _single() -> Iterator[tuple[str, str]]:
    """The pages of one thing, and of the end of the trail."""
    secret = Secret.objects.get(name="acs/ecs/mail-012346")
    for tab in ("overview", "versions", "history", "permissions", "tags", "audit"):
        yield f"secret, {tab}", f"{ALL}secrets/{secret.pk}/?tab={tab}"
    yield "instance", f"{ALL}instances/{secret.managed.instance_id}/"
    yield "run", f"{ALL}rotations/{secret.runs.all()[0].pk}/"
    yield "audit, oldest events", "/audit/?after=0"
    yield "audit, in the middle", "/audit/?before=500000"
    yield "audit, denied, oldest", "/audit/?outcome=denied&after=0"
    yield "bulk action of 500", f"/background/{_bulk().pk}/"
    yield "bulk action of 500, last page", f"/background/{_bulk().pk}/?page={paging.MOST_PAGES}"
    yield "bulk actions", "/background/"


def _bulk() -> BulkAction:
    """An action on as many rows as there may be; half of them are done."""
    actor = Principal.objects.get(user__username=READER)
    ids = list(Secret.objects.order_by("name").values_list("pk", flat=True)[: bulk_actions.MOST])
    bulk = bulk_actions.start("drift", ids, actor=actor, token="bench")
    BulkItem.objects.filter(bulk=bulk, number__lt=250).update(state=BulkItem.State.DONE)
    return bulk


#: Texts of which many, few, one or no names have a part; of two characters, which no trigram has.
_TEXTS = ("web", "web-0123", "payments-099", "nothing-like-this", "10.0.7", "we", "prod", "user1", "Bench")


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
