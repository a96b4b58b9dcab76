"""What every list does alike: its pages are found by an index and keep their order."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from console.lists import paging
from tests import factories, times
from tests.bench import policies

pytestmark = pytest.mark.django_db


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
    last = sorted(names)[-1 if count % 2 else -2 :]
    assert [secret.name for secret in page.rows] == last
    assert (page.number, page.has_next) == ((count + 1) // 2, False)
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
