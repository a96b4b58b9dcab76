"""What every list does alike: its pages are found by an index and keep their order."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.db.models.sql.compiler import SQLCompiler
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.lists import paging, secret_filters
from console.reports.overview import counts
from rotation import instance_checks, runs
from rotation.managed import deletion
from rotation.models import ManagedAccount, Schedule
from tests import factories, times
from tests.bench import policies

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/all/secrets/", "/all/rotations/", "/all/instances/", "/all/overview/"])
def test_a_page_has_django_make_the_sql_of_few_of_its_questions(as_dot, monkeypatch, path):
    monkeypatch.setattr(counts, "KEPT_FROM", -1)
    runs.start(factories.secret(), actor=factories.administrator())
    for _ in range(2):  # what is made once for a thread is made by these
        assert as_dot.get(path).status_code == 200
    made: list[str] = []
    execute = SQLCompiler.execute_sql

    def counted(compiler, *arguments, **options):
        made.append(compiler.query.model.__name__)
        return execute(compiler, *arguments, **options)

    monkeypatch.setattr(SQLCompiler, "execute_sql", counted)
    assert as_dot.get(path).status_code == 200
    assert len(made) <= (12 if path == "/all/overview/" else 3), made


def plans(client, path: str) -> list[str]:
    """How the database finds the primary keys of the page that `path` shows, where it need not sort."""
    with CaptureQueriesContext(connection) as seen:
        assert client.get(path).status_code == 200
    keys = [q["sql"] for q in seen if re.search(rf" LIMIT {paging.COUNT_CAP + 1}\b", q["sql"])]
    assert keys
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A table with one row is sorted sooner than an index is read.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        found = []
        for sql in keys:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
            found += [str(row[-1]) for row in cursor.fetchall()]
        return found


@pytest.mark.parametrize(
    "path",
    [
        "/all/secrets/",
        "/all/secrets/?sort=-created",
        "/all/secrets/?sort=status",
        "/all/instances/",
        "/all/instances/?sort=address",
        "/all/instances/?sort=contact",
        "/all/rotations/",
        "/main/rotations/",
    ],
)
def test_a_page_is_read_from_an_index_and_nothing_is_sorted_for_it(as_dot, path):
    factories.secret()
    assert not [step for step in plans(as_dot, path) if "TEMP B-TREE" in step or "Sort" in step]


def test_rows_keep_the_order_that_was_asked_for_over_pages(as_dot, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    instance = factories.instance()
    secrets = [factories.secret(instance=instance, username=f"user{n}") for n in range(5)]
    times.in_turn(*secrets)
    shown = [
        secret.name
        for number in (1, 2, 3)
        for secret in as_dot.get("/all/secrets/", {"sort": "-created", "page": number}).context["page"].rows
    ]
    assert shown == [secret.name for secret in reversed(secrets)]
    assert as_dot.get("/all/secrets/", {"page": 3}).context["page"].total == 5


@pytest.mark.parametrize(
    ("count", "said", "more"),
    [(9, "5+ items", [True] * 4 + [False]), (5, "5 items", [True] * 2 + [False])],
)
def test_a_list_says_how_many_it_has_as_far_as_they_are_counted(as_dot, monkeypatch, count, said, more):
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    monkeypatch.setattr(paging, "COUNT_CAP", 5)
    instance = factories.instance()
    names = [factories.secret(instance=instance, username=f"user{n}").name for n in range(count)]
    last = len(more)
    pages = [as_dot.get("/all/secrets/", {"page": number + 1}).context["page"] for number in range(last)]
    assert [secret.name for page in pages for secret in page.rows] == sorted(names)
    assert [page.has_next for page in pages] == more
    assert {page.count_text for page in pages} == {said}


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("asked", ["7", "9999", "9999999", "12345678", "9" * 5000])
def test_a_page_after_the_last_one_is_the_last_one(as_dot, monkeypatch, count, asked):
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    monkeypatch.setattr(paging, "COUNT_CAP", 5)
    instance = factories.instance()
    names = [factories.secret(instance=instance, username=f"user{n}").name for n in range(count)]
    answer = as_dot.get("/all/secrets/", {"page": asked})
    page = answer.context["page"]
    last = sorted(names)[-1 if count % 2 and count <= 5 else -2 :]
    assert [secret.name for secret in page.rows] == last
    number = (count + 1) // 2 if count <= 5 else -1  # of more rows it is not counted how many come before
    assert (page.number, page.has_next) == (number, False)
    assert "No matching" not in answer.content.decode()


def test_a_page_after_the_last_one_of_what_is_no_table_is_the_last_one(monkeypatch):
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    page = paging.of_list(["a", "b", "c"], QueryDict("page=9999"))
    assert (page.rows, page.number, page.has_next) == (["c"], 2, False)


def test_an_empty_list_in_all_regions_does_not_speak_of_one_region(client, hal):
    factories.region()
    client.force_login(hal)
    everywhere = client.get("/all/secrets/").content.decode()
    assert "No region has a secret that you may see." in everywhere
    assert "This region" not in everywhere
    assert "This region has no secret" in client.get("/main/secrets/").content.decode()
    searched = client.get("/all/secrets/?q=nothing").content.decode()
    assert "No matching secrets" in searched
    assert "all regions" not in searched[searched.index("No matching secrets") :]


def test_under_fifty_statements_a_longer_list_takes_as_many_queries(open_keyring):
    reader, instance = policies.reader(), factories.instance()
    taken = []
    for count in (1, 30):
        for n in range(count):
            factories.secret(instance=instance, username=f"u{count}-{n}", name=f"bench-{n % 30:02d}-{count}")
        reader.get("/all/secrets/?page=2")
        with CaptureQueriesContext(connection) as seen:
            page = reader.get("/all/secrets/?page=2")
        taken.append(len(seen))
    assert taken == [taken[0]] * 2
    assert taken[0] < 15
    shown = {secret.name for secret in reader.get("/all/secrets/").context["page"].rows}
    assert "acs/ecs/bench-00-30" in shown
    assert "acs/ecs/bench-03-30" not in shown  # only with a tag
    assert page.context["page"].total == len(shown)


@pytest.fixture
def two_pages_deep(monkeypatch):
    """Pages of two rows that reach four rows from either end, of ten secrets in the order of their names."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    monkeypatch.setattr(paging, "COUNT_CAP", 3)
    monkeypatch.setattr(paging, "DEEPEST", 4)
    instance = factories.instance()
    return sorted(factories.secret(instance=instance, username=f"user{n}").name for n in range(10))


@pytest.mark.parametrize(
    ("asked", "rows", "number", "previous", "following", "end"),
    [
        (1, slice(0, 2), 1, None, 2, -1),
        (2, slice(2, 4), 2, 1, None, -1),  # as deep as pages reach
        (3, slice(8, 10), -1, -2, None, None),
        (9999999, slice(8, 10), -1, -2, None, None),
        (-1, slice(8, 10), -1, -2, None, None),
        (-2, slice(6, 8), -2, None, -1, None),
        (-3, slice(6, 8), -2, None, -1, None),
    ],
)
@pytest.mark.parametrize("sort", ["name", "-name", "user", "-user", "next", "created", "status", "-status"])
def test_a_list_longer_than_its_pages_reach_is_read_from_either_end(
    as_dot, two_pages_deep, sort, asked, rows, number, previous, following, end
):
    every = [row.name for page in _pages(as_dot, sort, 10) for row in page.rows]
    assert sorted(every) == two_pages_deep
    page = as_dot.get("/all/secrets/", {"sort": sort, "page": asked}).context["page"]
    assert [row.name for row in page.rows] == every[rows]
    assert (page.number, page.previous, page.next, page.end) == (number, previous, following, end)


def _pages(client, sort, size):
    """The whole list, in one page of this size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "PAGE_ROWS", size)
        yield client.get("/all/secrets/", {"sort": sort}).context["page"]


def test_the_pages_of_a_long_list_lead_from_its_beginning_to_its_end(as_dot, two_pages_deep):
    first = as_dot.get("/all/secrets/").content.decode()
    assert re.search(r'href="\?page=-1"[^>]*>Last<', first)
    last = as_dot.get("/all/secrets/?page=-1").content.decode()
    assert "Last page" in last
    assert 'rel="prev" href="?page=-2"' in last
    before = as_dot.get("/all/secrets/?page=-2").content.decode()
    assert "Page 2 from the end" in before
    assert "Use a filter, or sort the other way, to see more rows." in before


def test_a_page_after_the_last_one_reads_no_more_rows_than_pages_reach(as_dot, two_pages_deep):
    with CaptureQueriesContext(connection) as seen:
        as_dot.get("/all/secrets/?page=9999999")
    keys = [q["sql"] for q in seen if re.match(r'SELECT "secrets_app_secret"."id" AS "pk" FROM', q["sql"])]
    assert len(keys) == 1  # for the page and the count
    assert keys[0].endswith("LIMIT 4")  # one more than a list says it has
    assert not [q["sql"] for q in seen if re.search(r"OFFSET \d{3}", q["sql"])]


@pytest.mark.parametrize("sort", sorted(secret_filters.SORTS))
def test_each_sort_shows_each_secret_once_in_either_direction(as_dot, sort):
    """One of each kind of row that a sort looks for apart: without an account, a date, a rotation."""
    instance = factories.instance()
    rotated, planned = (factories.secret(instance=instance, username=name) for name in ("b", "c"))
    factories.secret(instance=instance, username="a", initial=None)
    factories.generic_secret()
    ManagedAccount.objects.filter(secret=rotated).update(rotated_at=timezone.now())
    Schedule.objects.filter(secret=rotated).update(is_on=True, next_at=timezone.now())
    deletion.plan_deletion(planned, actor=factories.administrator(), days=30)
    up, down = (
        [row.pk for row in as_dot.get("/all/secrets/", {"sort": sign + sort}).context["page"].rows]
        for sign in ("", "-")
    )
    assert len(set(up)) == len(up) == 4
    assert set(down) == set(up)


def test_runs_without_a_secret_are_sorted_after_those_of_secrets(as_dot):
    run = runs.verify(factories.secret(), actor=factories.administrator())
    check = instance_checks.check(run.instance, actor=factories.administrator())
    for sign in ("", "-"):
        rows = as_dot.get("/all/rotations/", {"sort": f"{sign}secret"}).context["page"].rows
        assert [row.pk for row in rows] == [run.pk, check.pk]
