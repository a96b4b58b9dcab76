"""Settings, Regions: who sees the list, and what is asked before a region is changed."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from secrets_app.models import Region
from tests import factories

pytestmark = pytest.mark.django_db
INDEX = "/settings/regions/"


def page(client: Client, path: str = INDEX) -> str:
    return client.get(path).content.decode()


def send(client: Client, name: str, /, *args: object, **given: str):
    return client.post(reverse(name, args=args), given, follow=True)


@pytest.fixture
def west() -> Region:
    factories.region()
    return factories.region("west")


@pytest.fixture
def as_aud(aud) -> Client:
    client = Client(headers={"Host": "localhost"})
    client.force_login(aud)
    return client


def test_settings_stand_in_the_navigation_of_who_may_see_them(as_dot, as_aud, hal, west):
    other = Client(headers={"Host": "localhost"})
    other.force_login(hal)
    link = 'href="/settings/"'
    assert link in page(as_dot, "/keys/")
    assert link in page(as_aud, "/keys/")
    assert link not in page(other, "/all/secrets/")
    assert other.get(INDEX).status_code == 403
    assert as_dot.get("/settings/").headers["Location"] == INDEX


def test_the_list_counts_what_is_in_each_region(as_dot, west):
    factories.secret(instance=factories.instance(region=west))
    factories.instance(region=west)
    shown = page(as_dot)
    assert ">1</a>" in shown
    assert ">2</a>" in shown
    assert "West" in shown


def test_an_auditor_reads_the_list_and_is_offered_no_change(as_dot, as_aud, west):
    for action in ("region_rename", "region_retire"):
        path = reverse(action, args=[west.pk])
        assert path in page(as_dot)
        assert path not in page(as_aud)
        assert as_aud.get(path).status_code == 403
    assert "Create region" not in page(as_aud)


def test_a_new_region_can_be_chosen_at_once(as_dot, west):
    answer = send(as_dot, "region_create", code="eu-west", name="Europe")
    assert "Europe is created." in answer.content.decode()
    assert "/eu-west/secrets/" in page(as_dot, "/all/secrets/")
    assert as_dot.get("/eu-west/instances/").status_code == 200


def test_a_code_that_is_taken_or_reserved_is_said_beside_its_field(as_dot, west):
    for code, said in (
        ("west", "A region has or had this code"),
        ("all", "is not all"),
        ("EU", "lower-case"),
    ):
        answer = send(as_dot, "region_create", code=code, name="Typed again")
        assert answer.status_code == 422
        assert said in answer.content.decode()
        assert "Typed again" in answer.content.decode()
    assert Region.objects.count() == 2


def test_a_name_that_another_user_changed_meanwhile_is_not_overwritten(as_dot, west):
    Region.objects.filter(pk=west.pk).update(name="Wild west")
    answer = send(as_dot, "region_rename", west.pk, name="Far west", was="West")
    assert answer.status_code == 409
    assert "another user renamed it to Wild west" in answer.content.decode()
    assert Region.objects.get(pk=west.pk).name == "Wild west"
    send(as_dot, "region_rename", west.pk, name="Far west", was="Wild west")
    assert Region.objects.get(pk=west.pk).name == "Far west"


def test_a_retired_region_leaves_lists_and_pickers_and_stays_in_the_settings(as_dot, west):
    answer = send(as_dot, "region_retire", west.pk, name="West", reason="moved")
    assert "West is retired." in answer.content.decode()
    assert "/west/secrets/" not in page(as_dot, "/all/secrets/")
    assert as_dot.get("/west/secrets/").status_code == 404
    shown = page(as_dot)
    assert "west" in shown
    assert "Retired" in shown
    assert reverse("region_retire", args=[west.pk]) not in shown
    assert as_dot.get(reverse("region_rename", args=[west.pk])).status_code == 409


def test_a_region_with_something_in_it_says_what(as_dot, west):
    factories.instance(region=west)
    shown = page(as_dot, reverse("region_retire", args=[west.pk]))
    assert "It cannot be retired yet." in shown
    assert "1 instance is in it." in shown
    answer = send(as_dot, "region_retire", west.pk, name="West", reason="moved")
    assert answer.status_code == 409
    assert not Region.objects.get(pk=west.pk).retired_at


def test_the_last_region_is_not_retired(as_dot):
    main = factories.region()
    answer = send(as_dot, "region_retire", main.pk, name="Main", reason="moved")
    assert answer.status_code == 409
    assert "This is the only region." in answer.content.decode()


def test_the_list_asks_as_much_for_many_regions_as_for_few(as_dot, west):
    as_dot.get(INDEX)
    with CaptureQueriesContext(connection) as few:
        as_dot.get(INDEX)
    for number in range(5):
        made = factories.region(f"r{number}")
        factories.instance(region=made)
    with CaptureQueriesContext(connection) as many:
        as_dot.get(INDEX)
    assert len(many) == len(few)
