"""A search finds the rows that have the text in a name, whatever the text and by whichever index."""

from __future__ import annotations

from functools import reduce
from operator import or_

import pytest
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now
from django.http import QueryDict

from console import trigrams
from console.lists import expected, instance_list, paging, run_filters, secret_filters
from console.lists.texts import PARTS
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.models import Secret
from tests import factories

pytestmark = pytest.mark.django_db

TEXTS = (
    *("web", "WEB", "we", "e", "x_y", "x%y", "_", "%", "%%", "\\", "'", '"', "' OR 1=1 --", "(", "*", "NEAR"),
    *(
        "é",
        "É",
        "Ünïcode",
        "ünïcode",
        "日本",
        "日",
        "İ",
        "ß",
        "-",
        "web-0",
        "db prod",
        "10.0",
        "prod",
        "env=prod",
    ),
)
FIELDS = ("name", "managed__username", "managed__instance__name", "managed__instance__address")


@pytest.fixture
def secrets() -> None:
    for number, (name, username, instance) in enumerate(
        (
            ("web-01", "svc", "Web é 1"),
            ("x_y.1", "web", 'it\'s "100%"'),
            ("xzy", "ops", "日本 host (a*)"),
            ("db", "we_", "Ünïcode\\ß İ"),
        )
    ):
        host = factories.instance(name=instance, address=f"10.0.7.{number + 1}")
        secret = factories.secret(
            name=name, username=username, instance=host, tags={"env": "prod"} if number else {}
        )
        factories.settle(secret)


@pytest.fixture
def by_index() -> None:
    """PostgreSQL reads a small table whole, unless it is told that this costs a lot."""
    if connection.vendor == "postgresql":
        assert trigrams.are_there()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")


def found(text: str) -> set[str]:
    return set(secret_filters.narrowed(Secret.objects.kept(), {"q": text}).values_list("name", flat=True))


def one_by_one(text: str) -> set[str]:
    """The rows that fit, each field asked by itself and of every row."""
    key, sign, value = text.partition("=")
    tag = Q(tags__key=key, tags__value=value) if sign else Q(tags__key=text) | Q(tags__value=text)
    is_id = Q(managed__instance__instance_id__iexact=text)
    fits = reduce(or_, (Q(**{f"{field}__icontains": text}) for field in FIELDS))
    return set(Secret.objects.kept().filter(fits | tag | is_id).values_list("name", flat=True))


@pytest.mark.parametrize("usernames", [300, 2], ids=["few usernames", "more"])
@pytest.mark.parametrize("expects", [None, 0, 10_000, 50_000])
@pytest.mark.parametrize("most", [(4_000, 30_000), (0, 30_000), (0, 0)], ids=["few", "many", "most"])
def test_a_search_finds_what_each_row_by_itself_fits(
    secrets, by_index, monkeypatch, most, expects, usernames
):
    monkeypatch.setattr(secret_filters, "MOST_USERNAMES", usernames)
    if expects is not None:  # however wrong the statistics are
        monkeypatch.setattr(expected, "number", lambda rows: expects)
    monkeypatch.setattr(secret_filters, "MOST_LISTED", most[0])
    monkeypatch.setattr(secret_filters, "MOST_JOINED", most[1])
    assert {text: found(text) for text in TEXTS} == {text: one_by_one(text) for text in TEXTS}
    assert found("web") == {"acs/ecs/web-01", "acs/ecs/x_y.1"}
    assert found("x_y") == {"acs/ecs/x_y.1"}


@pytest.mark.parametrize("most", [500, 0], ids=["few instances", "more"])
def test_two_letters_find_what_each_row_by_itself_fits(secrets, by_index, monkeypatch, most):
    monkeypatch.setattr(secret_filters, "MOST_INSTANCES", most)
    texts = [text for text in (*TEXTS, "I-", "b ", " h", "7.") if len(text) < PARTS]
    assert {text: found(text) for text in texts} == {text: one_by_one(text) for text in texts}
    for text in texts:
        fits = Q(name__icontains=text) | Q(address__icontains=text) | Q(instance_id__icontains=text)
        rows = instance_list.narrowed(Instance.objects.all(), {"q": text})
        assert set(rows) == set(Instance.objects.filter(fits)), text


@pytest.mark.parametrize("expects", [0, 4_001, 25_001], ids=["few", "many", "most"])
def test_a_user_has_the_secrets_of_the_accounts_of_this_name(secrets, monkeypatch, expects):
    monkeypatch.setattr(expected, "number", lambda rows: expects)
    factories.generic_secret(name="token-1")
    for name, wanted in (("web", {"acs/ecs/x_y.1"}), ("we", set()), ("WEB", set())):
        rows = secret_filters.narrowed(Secret.objects.kept(), {"user": name})
        assert set(rows.values_list("name", flat=True)) == wanted


def test_a_purged_secret_is_found_among_the_deleted_ones_only(secrets):
    Secret.objects.filter(name="acs/ecs/web-01").update(purged_at="2026-01-01T00:00Z")
    ManagedAccount.objects.filter(secret__name="acs/ecs/web-01").update(released_at="2026-01-01T00:00Z")
    purged = Secret.objects.filter(purged_at__isnull=False)
    assert found("web-01") == set()
    assert secret_filters.narrowed(purged, {"q": "web-01", "status": "deleted"}).count() == 1


@pytest.mark.parametrize("expects", [None, 0, 10_000])
@pytest.mark.parametrize("most", [2_000, 0], ids=["few", "many"])
def test_a_search_of_runs_finds_those_of_a_secret_an_instance_or_a_requester(
    secrets, monkeypatch, most, expects
):
    if expects is not None:
        monkeypatch.setattr(expected, "number", lambda rows: expects)
    monkeypatch.setattr(run_filters, "MOST_NAMED", dict.fromkeys(run_filters.MOST_NAMED, most))
    actors = [factories.user("webster", "administrators").principal, factories.administrator()]
    for number, account in enumerate(ManagedAccount.objects.order_by("secret__name")):
        Run.objects.create(
            kind="rotate", state="ended", outcome="succeeded", secret=account.secret,
            instance=account.instance, requested_by=actors[number % 2],
        )  # fmt: skip
    for text in TEXTS:
        fits = (
            Q(secret__name__icontains=text)
            | Q(instance__name__icontains=text)
            | Q(requested_by__name__icontains=text)
        )
        wanted = set(Run.objects.filter(fits).values_list("pk", flat=True))
        for is_short in (False, True):
            rows = run_filters.narrowed(Run.objects.all(), {"q": text}, is_short=is_short)
            assert set(rows.values_list("pk", flat=True)) == wanted
    assert run_filters.narrowed(Run.objects.all(), {"q": "webster"}).count() == 2


# ---------------------------------------------------------------- in an order


def pages(rows, sorts, sort: str, monkeypatch, cap: int) -> list[object]:
    """The rows of every page of two, in the order of `sort`, and those of the page after the last one."""
    monkeypatch.setattr(paging, "COUNT_CAP", cap)
    found: list[object] = []
    for number in range(1, 20):
        page = paging.page(rows, QueryDict(f"sort={sort}&page={number}"), sorts=sorts, default="-x", size=2)
        if page.number != number:
            assert page.rows == found[-len(page.rows) :]
            return found
        found += page.rows
    raise AssertionError("no end")


@pytest.mark.parametrize("cap", [1_000, 3, 0])
def test_every_sort_shows_each_row_once_and_both_ways(secrets, monkeypatch, cap):
    factories.generic_secret(name="token-1")
    factories.generic_secret(name="token-2")
    for account in ManagedAccount.objects.all():
        for kind in ("rotate", "verify"):
            Run.objects.create(
                kind=kind, state="ended", outcome="failed", secret=account.secret,
                instance=account.instance, requested_by=factories.administrator(),
            )  # fmt: skip
    account.instance.runs.create(kind="scan", state="ended", requested_by=account.secret.created_by)
    for rows, sorts in (
        (Secret.objects.kept(), secret_filters.SORTS),
        (Run.objects.all(), run_filters.SORTS),
    ):
        for sort in sorts:
            up = pages(rows, sorts, sort, monkeypatch, cap)
            down = pages(rows, sorts, f"-{sort}", monkeypatch, cap)
            assert len(up) == len({row.pk for row in up}) == rows.count(), sort
            by = sorts[sort]
            if not (isinstance(by, paging.By) and by.is_joined):
                assert down == up[::-1], sort


def test_a_secret_without_an_account_comes_last_either_way(secrets, monkeypatch):
    token = factories.generic_secret(name="token-1")
    for sort in ("user", "-user", "instance", "-instance", "next", "-next"):
        rows = pages(Secret.objects.kept(), secret_filters.SORTS, sort, monkeypatch, 1_000)
        managed = [row for row in rows if row != token]
        assert rows == [*managed, token] or sort.endswith("next"), sort


def test_names_of_another_table_are_in_their_order(secrets, monkeypatch):
    rows = pages(Secret.objects.kept(), secret_filters.SORTS, "-user", monkeypatch, 1_000)
    assert [row.managed.username for row in rows] == ["web", "we_", "svc", "ops"]


@pytest.mark.parametrize("cap", [1_000, 1])
@pytest.mark.parametrize("sees", ["all", "each", "some"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_instances_are_in_the_order_of_how_many_secrets_they_have(monkeypatch, cap, sees, is_whole):
    hosts = [factories.instance() for _ in range(6)]
    for host, count in zip(hosts, (2, 0, 1, 2, 0, 1), strict=True):
        for number in range(count):
            factories.secret(instance=host, username=f"user{number}", name=f"{host.pk}-{number}")
    ManagedAccount.objects.filter(instance=hosts[5]).update(released_at=Now())
    seen = Secret.objects.all() if sees != "some" else Secret.objects.exclude(name__endswith="-1")
    sorts = instance_list.sorts(seen, sees_all=sees == "all", is_whole=is_whole)
    kept = ManagedAccount.objects.filter(released_at=None, secret__in=seen)
    rows = Instance.objects.all()
    if not is_whole:
        rows = rows.exclude(pk=hosts[3].pk)
    counts = {row: kept.filter(instance=row).count() for row in rows}
    up = sorted(rows, key=lambda row: (counts[row], row.pk))
    assert pages(rows, sorts, "secrets", monkeypatch, cap) == up
    assert pages(rows, sorts, "-secrets", monkeypatch, cap) == up[::-1]
