"""The search of the top bar: what it finds, and for whom."""

from __future__ import annotations

import json
from html import unescape
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation import runs
from rotation.models import Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import policies
from tests import factories

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def found(client: Client, text: str) -> dict[str, list[str]]:
    """What stands on the page, by kind."""
    groups = client.get(reverse("search"), {"q": text}).context["groups"]
    return {group.name: [hit.label for hit in group.hits] for group in groups}


def secret(name: str = "web/nginx", **fields: object) -> Secret:
    host = factories.instance(name="web-17", address="192.0.2.17")
    return factories.secret(instance=host, name=name, **fields)


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("text", ["nginx", "NGINX", "acs/ecs/web/ng", "web-17", "192.0.2.17", "svc"])
def test_a_secret_is_found_by_its_name_its_user_and_its_instance(as_dot, text):
    row = secret()
    factories.secret(name="other", username="root")
    assert found(as_dot, text)["Secrets"] == [row.name]


def test_an_instance_and_its_secrets_are_found_by_the_id_of_the_instance(as_dot):
    row = secret()
    groups = found(as_dot, row.managed.instance.instance_id)
    assert (groups["Secrets"], groups["Instances"]) == ([row.name], ["web-17"])


@pytest.mark.parametrize("text", ["web-17", "WEB", "192.0.2"])
def test_an_instance_is_found_by_its_name_its_address_and_its_id(as_dot, text):
    secret()
    factories.instance(name="other", address="198.51.100.1")
    assert found(as_dot, text)["Instances"] == ["web-17"]


@pytest.mark.parametrize("text", ["team=billing", "team", "billing"])
def test_a_secret_is_found_by_a_tag_by_its_key_and_by_its_value(as_dot, text):
    row = factories.secret(name="tagged", tags={"team": "billing"})
    factories.secret(name="other", tags={"group": "billings"})
    assert found(as_dot, text)["Secrets"] == [row.name]
    assert [one.pk for one in as_dot.get("/all/secrets/", {"q": text}).context["page"].rows] == [row.pk]


def test_a_user_is_found_by_name(as_dot, hal):
    assert found(as_dot, "hal")["Users"] == ["hal"]
    assert found(as_dot, str(hal.pk))["Users"] == ["hal"]


def test_a_run_is_found_by_its_id_and_by_the_secret_it_is_about(as_dot):
    row = secret()
    run = runs.start(row, actor=factories.administrator())
    assert found(as_dot, str(run.pk)) == {"Runs": [f"Rotation of {row.name}"]}
    assert f"Rotation of {row.name}" in found(as_dot, "nginx")["Runs"]


def test_an_id_or_an_arn_names_one_thing_and_its_events(as_dot):
    row, _ = secret(), factories.secret(name="web/nginx-2")
    for text in (str(row.pk), row.arn):
        groups = found(as_dot, text)
        assert groups["Secrets"] == [row.name]
        assert set(groups) == {"Secrets", "Events"}
    instance = row.managed.instance
    assert found(as_dot, instance.arn)["Instances"] == ["web-17"]
    assert found(as_dot, str(instance.pk))["Instances"] == ["web-17"]
    assert found(as_dot, str(uuid4())) == {}
    assert found(as_dot, row.arn.replace("nginx", "apache")) == {}


def test_events_are_found_by_actor_action_address_number_and_resource(as_dot):
    row = secret()
    runs.start(row, actor=factories.administrator())
    as_dot.get("/all/rotations/export.csv")
    first = AuditEvent.objects.order_by("sequence").first()
    assert found(as_dot, str(first.sequence).zfill(2))["Events"] == [f"{first.action} by {first.actor_name}"]
    for text in ("factory", "rotatesecret", "nginx", row.arn):
        assert "kms:RotateSecret by factory" in found(as_dot, text)["Events"], text
    for text in ("dot", "127.0.0.1"):
        assert "kms:ExportRotations by dot" in found(as_dot, text)["Events"], text


# ---------------------------------------------------------------- how much


def test_more_than_five_become_a_link_to_the_list_with_the_search_filled_in(as_dot):
    for number in range(7):
        factories.secret(name=f"fleet/{number}")
    page = as_dot.get(reverse("search"), {"q": "fleet"})
    (group,) = [one for one in page.context["groups"] if one.name == "Secrets"]
    assert len(group.hits) == 5
    assert group.more == "All 7 secrets that match"
    assert as_dot.get(group.more_url).context["page"].total == 7
    assert "All 7 secrets that match" in page.content.decode()


def test_every_link_to_a_list_leads_to_what_was_counted(as_dot, hal):
    for number in range(7):
        row = factories.secret(name=f"hal/{number}", instance=factories.instance(name=f"hal-{number}"))
        factories.settle(row)
        runs.start(row, actor=hal.principal if number == 9 else factories.administrator())
        factories.user(f"hal{number}")
    groups = as_dot.get(reverse("search"), {"q": "hal"}).context["groups"]
    led = {one.name: one for one in groups if one.more_url}
    assert {"Secrets", "Instances", "Users", "Runs"} <= set(led)
    for group in led.values():
        page = as_dot.get(group.more_url).context["page"]
        assert group.more == f"All {page.total} {group.name.lower()} that match"


@pytest.mark.parametrize("text", ["", " ", "a", " a "])
def test_too_short_a_text_finds_nothing_and_says_what_to_do(as_dot, text):
    factories.secret(name="aaa")
    page = as_dot.get(reverse("search"), {"q": text})
    assert page.context["groups"] == []
    assert "at least two characters" in page.content.decode()


def test_nothing_found_says_so(as_dot):
    assert "Nothing found" in as_dot.get(reverse("search"), {"q": "nobody"}).content.decode()
    box = as_dot.get(reverse("search"), {"q": "nobody"}, headers=HTMX).content.decode()
    assert "Nothing that you may see matches" in box


def test_a_text_is_shown_as_text(as_dot):
    for headers in ({}, HTMX):
        page = as_dot.get(reverse("search"), {"q": "<b>bold</b>"}, headers=headers).content.decode()
        assert "<b>bold" not in page
        assert "<b>bold" in unescape(page)


def test_the_number_of_queries_does_not_grow_with_what_matches(as_dot):
    def cost() -> int:
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(reverse("search"), {"q": "many"}, headers=HTMX)
        return len(seen)

    for number in range(2):
        factories.secret(name=f"many/{number}")
    cost()
    few = cost()
    for number in range(2, 12):
        factories.secret(name=f"many/{number}")
    assert cost() <= few


# ---------------------------------------------------------------- for whom


def test_a_stranger_is_led_to_the_sign_in(client):
    assert client.get(reverse("search"), {"q": "nginx"}).status_code == 302


def test_who_may_list_nothing_finds_nothing(client, ann):
    row = secret()
    run = runs.start(row, actor=factories.administrator())
    client.force_login(ann)
    for text in ("nginx", "web-17", "192.0.2.17", row.arn, str(row.pk), str(run.pk), "dot", "RotateSecret"):
        assert found(client, text) == {}, text


def test_the_helpdesk_finds_secrets_and_neither_instances_nor_events(client, hal):
    row = secret()
    runs.start(row, actor=factories.administrator())
    client.force_login(hal)
    assert found(client, "nginx") == {"Secrets": [row.name]}
    assert found(client, str(row.managed.instance.pk)) == {}
    assert found(client, str(Run.objects.first().pk)) == {}


def test_what_a_policy_hides_is_found_by_no_name_id_tag_or_number(client, ann, dot):
    hidden = secret("team-b/hidden", tags={"team": "web"})
    shown = factories.secret(name="team-a/shown", tags={"team": "web"})
    run = runs.start(hidden, actor=factories.administrator())
    lists = {"Effect": "Allow", "Action": ["kms:ListSecrets", "kms:ListRotations"], "Resource": "*"}
    looks = {
        "Effect": "Allow",
        "Action": ["kms:DescribeSecret", "kms:DescribeRotation"],
        "Resource": "acs:kms:*:*:secret/acs/ecs/team-a/*",
    }
    text = json.dumps({"Version": "1", "Statement": [lists, looks]})
    policies.attach(policies.create("team-a", text, actor=dot.principal), ann, actor=dot.principal)
    client.force_login(ann)
    for text in (
        "hidden",
        hidden.arn,
        str(hidden.pk),
        str(run.pk),
        "web-17",
        "192.0.2.17",
        hidden.managed.instance.instance_id,
    ):
        assert found(client, text) == {}, text
    assert found(client, "team=web")["Secrets"] == [shown.name]
    assert hidden.name not in client.get(reverse("search"), {"q": "team=web"}).content.decode()


def test_a_value_is_never_found(as_dot):
    value = "Correct-Horse-7-Battery"
    secret(initial=value)
    assert found(as_dot, value) == {}


def test_the_bar_holds_the_search_for_whoever_is_signed_in(as_dot, client):
    page = as_dot.get("/all/secrets/").content.decode()
    assert 'action="/search/"' in page
    assert page.count('id="search-results"') == 1
    client.logout()
    assert 'action="/search/"' not in client.get(reverse("account_login")).content.decode()
