"""The list of events by a part of an action or of a resource: complete, whichever way its pages are found."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from console.lists import event_list, paging
from secrets_app.audit import named, trail
from secrets_app.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def events(dot) -> None:
    """Sixty events of three actions, in turn; every twentieth is of another resource."""
    for number in range(60):
        resource = f"acs:kms:main:1:{'rare' if number % 20 == 7 else 'thing'}/{number}"
        trail.record(f"kms:Test{number % 3}", resource, actor=dot.principal)


@pytest.fixture
def as_dot(dot) -> Client:
    client = Client()
    client.force_login(dot)
    return client


def expected(**narrowed: str) -> list[int]:
    return [*AuditEvent.objects.filter(**narrowed).order_by("-sequence").values_list("pk", flat=True)]


def walk(client: Client, query: str, *, way: str, first: str = "") -> list[list[int]]:
    """The events of each page from the first one on, in the direction of `way`."""
    found, more = [], first
    for _ in range(100):
        page = client.get(f"/audit/?{query}{more}").context["page"]
        found.append([event.sequence for event in page.rows])
        onward = page.older if way == "before" else page.newer
        if onward is None:
            return found
        more = f"&{way}={onward}"
    raise AssertionError("no end")


def test_the_actions_of_the_trail_are_each_found_once():
    every = named.actions()
    assert sorted(every) == sorted(set(AuditEvent.objects.values_list("action", flat=True)))


@pytest.mark.parametrize("most", [40, 1])
@pytest.mark.parametrize("text", ["test", "Test1", "kms:", "e", "S"])
def test_a_part_of_an_action_finds_every_event_whose_action_has_it(as_dot, monkeypatch, most, text):
    monkeypatch.setattr(event_list, "MOST_ACTIONS", most)
    wanted = expected(action__icontains=text)
    older = walk(as_dot, f"action={text}", way="before")
    assert [event for page in older for event in page] == wanted
    newer = walk(as_dot, f"action={text}", way="after", first="&after=0")
    assert [event for page in newer for event in page[::-1]] == wanted[::-1]
    shown = as_dot.get(f"/audit/?action={text}").content.decode()
    assert f"{len(wanted)} event" in shown


def test_events_of_several_actions_are_counted_as_far_as_a_list_says(as_dot, monkeypatch):
    monkeypatch.setattr(paging, "COUNT_CAP", 30)
    assert "30+ events" in as_dot.get("/audit/?action=test").content.decode()


def test_an_action_that_no_event_has_matches_nothing(as_dot):
    shown = as_dot.get("/audit/?action=nothing-like-it").content.decode()
    assert "No matching events" in shown
    assert "so far" not in shown


@pytest.mark.parametrize("looked_through", [50_000, 5, 1])
def test_the_pages_of_a_part_of_a_resource_have_each_of_its_events_once(as_dot, monkeypatch, looked_through):
    monkeypatch.setattr(event_list, "LOOKED_THROUGH", looked_through)
    for text in ("rare", "thing/1"):
        wanted = expected(resource__icontains=text)
        older = walk(as_dot, f"resource={text}", way="before")
        assert [event for page in older for event in page] == wanted
        newer = walk(as_dot, f"resource={text}", way="after", first="&after=0")
        assert [event for page in newer for event in page[::-1]] == wanted[::-1]


def test_a_page_without_a_match_says_how_far_it_has_searched_and_searches_on(as_dot, monkeypatch):
    monkeypatch.setattr(event_list, "LOOKED_THROUGH", 5)
    shown = as_dot.get("/audit/?resource=rare/7").content.decode()
    assert "No matching events so far" in shown
    onward = re.search(r'hx-get="(/audit/[^"]+)"\s+hx-trigger="load"', shown)
    assert onward
    newest = AuditEvent.objects.order_by("-sequence").values_list("sequence", flat=True)[0]
    assert f"Searched back to event {newest - 4}." in shown
    page = as_dot.get(onward[1].replace("&amp;", "&")).context["page"]
    assert page.onward == ("before", newest - 9)
    shown = as_dot.get("/audit/?resource=nothing-like-it&before=4").content.decode()
    assert "No matching events" in shown
    assert "so far" not in shown


def test_a_page_of_a_long_trail_reads_only_as_many_events_as_it_looks_through(as_dot, monkeypatch):
    monkeypatch.setattr(event_list, "LOOKED_THROUGH", 10)
    page = as_dot.get("/audit/?resource=thing").context["page"]
    assert 0 < len(page.rows) <= 10
    assert page.count_text == f"{len(page.rows)}+ events"


def test_pages_before_the_first_event_and_after_the_last_one_lead_back(as_dot):
    factories.secret()
    wanted = expected(resource__icontains="rare")
    newest = as_dot.get("/audit/?resource=rare&before=999999").context["page"]
    assert [event.sequence for event in newest.rows] == wanted
    page = as_dot.get("/audit/?resource=rare&after=999999").context["page"]
    assert not page.rows
    assert page.older is not None
    back = as_dot.get(f"/audit/?resource=rare&before={page.older}").context["page"]
    assert [event.sequence for event in back.rows] == wanted
