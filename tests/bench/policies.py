"""The secrets list under a policy of 50 statements: server time for a page, its queries, what seals cost."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console.process import web
from secrets_app import seal_sets
from secrets_app.models import Secret, Tag, User
from secrets_app.policy import policies
from tests import factories
from tests.bench import seals, stores

STATEMENTS = 50
PAGES = 40
GOAL = {"sqlite": 300, "postgresql": 50}  # milliseconds


def document() -> str:
    """Names with and without wildcards, tags, and denials among them, as a grown installation has them."""
    made: list[dict[str, object]] = [
        {"Effect": "Allow", "Action": ["kms:List*", "kms:DescribeInstance"], "Resource": "*"}
    ]
    for n in range(STATEMENTS - 1):
        name = f"acs:kms:*:*:secret/acs/ecs/bench-{n:02d}*"
        statement: dict[str, object] = {"Effect": "Allow", "Action": ["kms:DescribeSecret"], "Resource": name}
        if n % 5 == 3:
            statement["Condition"] = {"StringEquals": {"kms:tag/env": ["prod", "test"]}}
        if n % 5 == 4:
            statement |= {"Effect": "Deny", "Resource": f"{name[:-1]}?1*"}
        made.append(statement)
    return json.dumps({"Version": "1", "Statement": made})


def reader(name: str = "fifty") -> Client:
    """A person who sees what such a policy allows, and nothing else."""
    user = User.objects.filter(username=name).first()
    if user is None:
        user = factories.user(name)
        actor = factories.administrator()
        policy = policies.create(f"{name}-statements", document(), actor=actor)
        policies.attach(policy, user, actor=actor)
    client = Client()
    client.force_login(user)
    return client


def tag(count: int) -> None:
    """Every fifth secret of the first `count` has a tag."""
    Tag.objects.filter(key="env").delete()
    wanted = Secret.objects.order_by("name")[:count:5]
    Tag.objects.bulk_create([Tag(secret=s, key="env", value="prod") for s in wanted], batch_size=500)
    tagged = {secret.pk for secret in wanted}
    for secret in Secret.objects.order_by("name").iterator():
        seal_sets.put_tags(secret, {"env": "prod"} if secret.pk in tagged else {})


def measure(rows: int, fill: Callable[[int], None]) -> None:
    """Print the 50th and 95th percentile over pages of `rows`, and how many queries one takes at any size.

    `fill` has so many secrets there. Ends the run where a longer list takes more queries.
    """
    fill(seals.SECRETS)
    tag(seals.SECRETS)
    _learn()
    seals.measure(reader("sealed"), "sealed")
    queries = {}
    for count in (seals.SECRETS, 1_000, rows):
        fill(count)
        tag(count)
        _learn()
        client = reader()
        client.get("/all/secrets/?page=3")
        with CaptureQueriesContext(connection) as asked:
            client.get("/all/secrets/?page=3")
        queries[count] = len(asked)
    if len({*queries.values()}) > 1:
        raise SystemExit(f"a longer list takes more queries: {queries}")
    web.post_worker_init(None)  # as in a worker of the web server
    seconds = [_page(client, n % 20 + 1) for n in range(PAGES)]
    p95 = statistics.quantiles(seconds, n=20)[18]
    print(
        f"list, {STATEMENTS} statements  p50 {statistics.median(seconds) * 1000:.0f} ms, "
        f"p95 {p95 * 1000:.0f} ms a page of {rows:,} rows on {connection.vendor} "
        f"(goal: p95 {GOAL[connection.vendor]} ms), {queries[rows]} queries at "
        f"{seals.SECRETS}, 1,000 and {rows:,} rows",
        flush=True,
    )


def _page(client: Client, number: int) -> float:
    began = time.perf_counter()
    answer = client.get(f"/all/secrets/?page={number}")
    taken = time.perf_counter() - began
    if answer.status_code != 200:
        raise SystemExit(f"the list answered {answer.status_code}")
    return taken


def _learn() -> None:
    """What PostgreSQL's own maintenance does within a minute of such a change."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def measure_on_postgres(rows: int) -> None:
    """The same in a process of its own, on a cluster of its own."""
    stores.on_postgres("policies", "--rows", str(rows))
