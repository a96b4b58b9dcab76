"""The secrets list under a policy of 50 statements: server time for each page, and its queries."""

from __future__ import annotations

import json
import statistics
import time

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from secrets_app import rulebook
from secrets_app.models import Region, Secret, Tag, User
from tests import factories

STATEMENTS = 50
PAGES = 40


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


def reader() -> Client:
    """A person who sees what such a policy allows, and nothing else."""
    user = User.objects.filter(username="fifty").first()
    if user is None:
        user = factories.user("fifty")
        actor = factories.administrator()
        policy = rulebook.create("fifty-statements", document(), actor=actor)
        rulebook.attach(policy, user, actor=actor)
    client = Client()
    client.force_login(user)
    return client


def tag(count: int) -> None:
    """Every fifth secret of the first `count` has a tag."""
    Tag.objects.filter(key="env").delete()
    wanted = Secret.objects.order_by("name")[:count:5]
    Tag.objects.bulk_create([Tag(secret=s, key="env", value="prod") for s in wanted], batch_size=500)


def measure(rows: int) -> None:
    """Print the 50th and 95th percentile over pages, and how many queries one takes."""
    assert Region.objects.exists()
    tag(rows)
    client, seconds = reader(), []
    for n in range(PAGES):
        began = time.perf_counter()
        answer = client.get(f"/all/secrets/?page={n % 20 + 1}")
        seconds.append(time.perf_counter() - began)
        if answer.status_code != 200:
            raise SystemExit(f"the list answered {answer.status_code}")
    with CaptureQueriesContext(connection) as queries:
        client.get("/all/secrets/?page=3")
    p95 = statistics.quantiles(seconds, n=20)[18]
    p50 = statistics.median(seconds)
    print(
        f"list, {STATEMENTS} statements  p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms a page "
        f"of {rows:,} rows on {connection.vendor}, {len(queries)} queries"
    )
