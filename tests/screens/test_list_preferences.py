"""Rows per page and columns of a list: chosen by a user, kept for that user, and put back."""

from __future__ import annotations

import html
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console.lists.columns import LISTS
from console.models import ListPreference
from rotation import runs
from secrets_app.people import access_keys, machines, users
from tests import factories

pytestmark = pytest.mark.django_db

PATHS = {
    "secrets": "/all/secrets/",
    "instances": "/all/instances/",
    "rotations": "/all/rotations/",
    "audit": "/audit/",
    "credentials": "/credentials/",
    "users": "/access/users/",
    "applications": "/access/applications/",
    "access_keys": "/access/access-keys/",
    "groups": "/access/groups/",
    "policies": "/access/policies/",
    "keys": "/keys/",
}
KEEP = "/lists/shown/"


@pytest.fixture
def rows() -> None:
    """A row of everything."""
    factories.credential()
    runs.start(factories.secret(initial="a-value-1"), actor=factories.administrator())
    users.create_group("night", actor=factories.administrator())
    robot = machines.create("robot", actor=factories.administrator())
    access_keys.create(robot, actor=factories.administrator())


def headings(client: Client, path: str) -> list[str]:
    head = re.search(r"<thead>.*?</thead>", client.get(path).content.decode(), re.S)
    assert head
    found = re.findall(r"<th [^>]*>(?:<a [^>]*>)?([^<]+)", head[0])
    return [one.strip() for one in found]


def cells(client: Client, path: str) -> set[str]:
    body = re.search(r"<tbody.*?</tbody>", client.get(path).content.decode(), re.S)
    assert body
    return set(re.findall(r'data-label="([^"]*)"', body[0]))


def keep(client: Client, name: str, *columns: str, rows: str = "25", **more: str):
    return client.post(KEEP, {"list": name, "rows": rows, "columns": columns, **more})


def test_every_list_has_its_columns_to_choose():
    assert LISTS.keys() == PATHS.keys()


@pytest.mark.parametrize("name", PATHS)
def test_a_list_shows_the_columns_that_are_chosen_and_no_cell_of_the_others(as_dot, rows, name):
    path = PATHS[name]
    usual = [column.label for column in LISTS[name] if column.is_usual]
    every = [column.label for column in LISTS[name]]
    before = headings(as_dot, path)
    assert [one for one in before if one in every] == usual
    for column in LISTS[name]:
        keep(as_dot, name, column.name)
        fixed = [one for one in before if one not in every]
        assert [one for one in headings(as_dot, path) if one not in fixed] == [column.label]
        assert cells(as_dot, path) & set(every) == {column.label}
    keep(as_dot, name)
    assert not cells(as_dot, path) & set(every)
    assert as_dot.post(KEEP, {"list": name, "reset": "1"}).status_code == 302
    assert headings(as_dot, path) == before
    assert not ListPreference.objects.exists()


@pytest.mark.parametrize("name", PATHS)
def test_the_list_leads_to_the_form_with_what_is_chosen(as_dot, rows, name):
    first, *_ = LISTS[name]
    keep(as_dot, name, first.name, rows="50", density="compact")
    page = as_dot.get(f"{PATHS[name]}?q=&page=1&sort=name").content.decode()
    assert "table-compact" in page
    link = re.search(rf'href="({KEEP}[^"]+)" data-dialog', page)
    assert link
    dialog = as_dot.get(html.unescape(link[1])).content.decode()
    form = re.search(rf'<form[^>]*action="{KEEP}".*?</form>', dialog, re.S)
    assert form
    back = f'name="back" value="{PATHS[name]}?q=&amp;sort=name"'
    assert back in form[0]
    assert 'value="compact" checked' in form[0]
    assert re.findall(r'name="columns" value="(\w+)" checked', form[0]) == [first.name]
    assert "<option selected>50</option>" in form[0]
    assert 'method="post"' in form[0]
    assert "disabled" not in form[0]


def test_rows_on_a_page_are_as_many_as_chosen_and_pages_follow(as_dot):
    instance = factories.instance()
    names = sorted(factories.secret(instance=instance, username=f"user{n:02}").name for n in range(60))
    assert len(as_dot.get("/all/secrets/").context["page"].rows) == 25
    keep(as_dot, "secrets", "kind", rows="50")
    first, second = (as_dot.get("/all/secrets/", {"page": n}).context["page"] for n in (1, 2))
    assert [row.name for row in [*first.rows, *second.rows]] == names
    assert (first.first, first.last, second.first, second.last) == (1, 50, 51, 60)
    assert as_dot.get("/all/secrets/", {"page": 9999}).context["page"].number == 2
    events = as_dot.get("/audit/").context["page"].rows
    assert len(events) == 25
    keep(as_dot, "audit", rows="50")
    assert len(as_dot.get("/audit/").context["page"].rows) == 50


@pytest.mark.parametrize("rows", ["", "0", "-25", "26", "1000000", "25.0", "x", "\uff12\uff15"])
def test_a_number_of_rows_that_is_not_offered_keeps_nothing(as_dot, rows):
    assert keep(as_dot, "secrets", "kind", rows=rows).status_code == 302
    assert not ListPreference.objects.exists()


def test_names_that_no_list_has_are_passed_over(as_dot, dot, rows):
    keep(as_dot, "secrets", "kind", "nonsense", "__class__", "<b>", "kind")
    assert ListPreference.objects.get().columns == ["kind"]
    for name in ("nonsense", "", "x" * 5000, "secrets\0"):
        assert keep(as_dot, name, "kind").status_code == 302
    assert ListPreference.objects.count() == 1
    ListPreference.objects.update(columns=["kind", "gone"], rows=7)
    page = as_dot.get("/all/secrets/")
    assert page.context["shown"].columns == {"kind"}
    assert page.context["shown"].rows == 25


def test_what_one_user_chooses_changes_nothing_for_another(as_dot, rows):
    keep(as_dot, "secrets", "kind")
    other = Client()
    other.force_login(factories.user("eva", "administrators"))
    assert len(headings(other, "/all/secrets/")) > len(headings(as_dot, "/all/secrets/"))
    keep(other, "secrets", "created")
    assert ListPreference.objects.count() == 2
    keep(other, "secrets", "created", "kind")
    assert ListPreference.objects.count() == 2


@pytest.mark.parametrize(
    ("back", "there"),
    [
        ("/all/secrets/?q=a&sort=-name", "/all/secrets/?q=a&sort=-name"),
        ("https://example.com/", "/"),
        ("//example.com/", "/"),
        ("/\\example.com", "/"),
        ("javascript:alert(1)", "/"),
        ("all/secrets/", "/"),
        ("", "/"),
    ],
)
def test_one_goes_back_to_the_list_and_to_no_other_site(as_dot, back, there):
    assert keep(as_dot, "secrets", back=back)["Location"] == there
    sent = {"list": "secrets", "rows": "25", "back": back}
    assert as_dot.post(KEEP, sent, headers={"HX-Request": "true"})["HX-Redirect"] == there


def test_rows_are_as_high_as_chosen_and_comfortable_otherwise(as_dot, rows):
    for density, is_compact in (("compact", True), ("comfortable", False), ("", False), ("x", False)):
        keep(as_dot, "secrets", "kind", density=density)
        assert ListPreference.objects.get().is_compact is is_compact
        assert ("table-compact" in as_dot.get("/all/secrets/").content.decode()) is is_compact


def test_the_form_of_a_list_that_is_not_there_is_not_found(as_dot):
    for name in ("", "nonsense"):
        assert as_dot.get(KEEP, {"list": name}).status_code == 404


def test_who_is_not_signed_in_keeps_nothing(client):
    assert keep(client, "secrets")["Location"].startswith(reverse("account_login"))
    assert not ListPreference.objects.exists()


@pytest.mark.parametrize("name", PATHS)
def test_a_preference_costs_one_query_and_a_longer_page_no_more(as_dot, rows, name):
    def taken() -> int:
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(PATHS[name])
        return len(seen)

    taken()
    few = taken()
    keep(as_dot, name, *(column.name for column in LISTS[name] if column.is_usual), rows="200")
    assert taken() == few
    for _ in range(3):
        factories.secret(initial="a-value-1")
    assert taken() == few


def test_the_tags_of_a_page_are_read_at_once_and_only_if_they_are_shown(as_dot):
    instance = factories.instance()

    def taken(*columns: str) -> int:
        keep(as_dot, "secrets", *columns)
        with CaptureQueriesContext(connection) as seen:
            as_dot.get("/all/secrets/")
        return len(seen)

    for n in range(2):
        factories.secret(instance=instance, username=f"u{n}", tags={"team": "web"})
    taken()
    without, few = taken("kind"), taken("tags")
    for n in range(5):
        factories.secret(instance=instance, username=f"v{n}", tags={"team": "web", "zone": str(n)})
    assert (taken("kind"), taken("tags")) == (without, few)
    assert few <= without + 1
