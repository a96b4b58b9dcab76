"""What it costs to find whose turn it is beside many runs that have ended, and to start many due at once.

The runs that have ended are copies of one, so that a million take seconds. Each question is asked before and
after they are there, in one process: the figures are processor time of this process, and on SQLite, which
answers in it, of the database too.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from unittest import mock

from django.db import connection
from django.db.models.functions import Now

from rotation import leases, runs, tasks
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app.models import Secret
from tests import factories
from tests.bench import stores

WAITING = 50  # runs that are due meanwhile
ROUNDS = 15
GOAL_SECONDS = 3.0  # in which 1,000 that fall due in one second are queued, on PostgreSQL


def measure(ended: int, due: int) -> None:
    """Print what each question costs beside no ended run and beside many, and how soon many are queued."""
    actor = factories.administrator()

    waiting = [runs.start(secret, actor=actor) for secret in (factories.secret() for _ in range(WAITING))]
    done = runs.start(factories.secret(), actor=actor)
    Run.objects.filter(pk=done.pk).update(
        state=Run.State.ENDED, outcome=Run.Outcome.SUCCEEDED, ended_at=Now()
    )
    instance = waiting[0].instance_id
    questions: dict[str, Callable[[], object]] = {
        "due": lambda: leases.due(1000),
        "first": lambda: leases.first(waiting[0].pk),
        "urgent": leases.urgent,
        "behind": lambda: leases.behind(instance),
    }
    before = {name: _cost(ask) for name, ask in questions.items()}
    began = time.perf_counter()
    _copy(done, ended)
    print(f"due                 {ended:,} runs that have ended made in {time.perf_counter() - began:.0f} s")
    for name, ask in questions.items():
        cpu, seconds = _cost(ask)
        print(
            f"  {name:<12}      {seconds * 1000:6.2f} ms, {cpu * 1000:.2f} ms of the processor; without them "
            f"{before[name][1] * 1000:.2f} ms, {before[name][0] * 1000:.2f} ms; on {connection.vendor}",
            flush=True,
        )
    _measure_start(due)


def _cost(ask: Callable[[], object]) -> tuple[float, float]:
    """The median of this process's processor time, and that of the seconds."""
    ask()
    found = []
    for _ in range(ROUNDS):
        used, began = time.process_time(), time.perf_counter()
        ask()
        found.append((time.process_time() - used, time.perf_counter() - began))
    return statistics.median(a for a, _ in found), statistics.median(b for _, b in found)


def _copy(run: Run, count: int) -> None:
    """Make so many copies of a run that has ended, with ids and times of their own."""
    quote, is_sqlite = connection.ops.quote_name, connection.vendor == "sqlite"
    table = quote(Run._meta.db_table)
    columns = [field.column for field in Run._meta.concrete_fields]
    own = {
        "id": "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()",
        "created_at": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', created_at, '-' || number || ' seconds')"
        if is_sqlite
        else "created_at - number * interval '1 second'",
    }
    with connection.cursor() as cursor:
        copy = (
            "WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < %s) "  # noqa: S608
            f"INSERT INTO {table} ({', '.join(map(quote, columns))}) "
            f"SELECT {', '.join(own.get(column, quote(column)) for column in columns)} "
            f"FROM {table}, n WHERE id = %s"
        )
        cursor.execute(copy, [count, run.pk.hex if is_sqlite else run.pk])
        cursor.execute(f"ANALYZE {table}")


def _measure_start(count: int) -> None:
    """Have `count` secrets, each on an instance of its own, fall due together, and start them."""
    first = Secret.objects.select_related("managed__instance").order_by("created_at").first()
    assert first is not None
    account = first.managed
    made = [
        Secret(
            account=first.account, region=first.region, name=f"acs/ecs/due-{n:06d}", kind=first.kind,
            key=first.key, created_by=first.created_by,
        )
        for n in range(count)
    ]  # fmt: skip
    Secret.objects.bulk_create(made, batch_size=500)
    places = [
        Instance(
            account=first.account, region=first.region, instance_id=f"i-due-{n}", name=f"due-{n}",
            address=f"127.77.{n // 250}.{n % 250 + 1}", port=22, created_by=first.created_by,
        )
        for n in range(count)
    ]  # fmt: skip
    Instance.objects.bulk_create(places, batch_size=500)
    ManagedAccount.objects.bulk_create(
        [
            ManagedAccount(secret=secret, instance=place, username=account.username, kind=secret.kind)
            for secret, place in zip(made, places, strict=True)
        ],
        batch_size=500,
    )
    Schedule.objects.bulk_create([Schedule(secret=secret) for secret in made], batch_size=500)
    mine = Schedule.objects.filter(secret__name__startswith="acs/ecs/due-")
    mine.update(is_on=True, period=timedelta(days=7), next_at=Now() - timedelta(seconds=1))
    sent: list[str] = []
    with mock.patch.object(tasks, "send", lambda task, *ids: sent.extend(ids)):
        used, began = time.process_time(), time.perf_counter()
        tasks.start_due()
        seconds, used = time.perf_counter() - began, time.process_time() - used
    queued = Run.objects.active().filter(secret__name__startswith="acs/ecs/due-").count()
    if queued != count:
        raise SystemExit(f"only {queued} of {count} that fell due were queued")
    print(
        f"  {count:,} due at once    all queued in {seconds:.2f} s, {used:.2f} s of the processor, "
        f"{len(sent)} sent to workers; on {connection.vendor} (goal on PostgreSQL: {GOAL_SECONDS:.0f} s), "
        f"load {os.getloadavg()[0]:.0f}",
        flush=True,
    )


def measure_on_postgres(ended: int, due: int) -> None:
    """The same on a cluster of its own."""
    stores.on_postgres("due", "--ended", str(ended), "--due", str(due))
