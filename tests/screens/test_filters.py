"""The filters of the lists: several choices at once, periods by name, and what is wrong in one."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from datetime import date, timedelta

import pytest
from django.http import QueryDict

from console.forms import period
from console.forms.audit import events as event_forms
from console.forms.rotations import rotations as run_forms
from console.lists import expected, secret_filters
from rotation import leases, runs
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app import origin
from secrets_app.audit import trail
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import policies
from tests import factories
from tests.statements import allow, give

pytestmark = pytest.mark.django_db


def ended(outcome: str) -> Run:
    run = runs.start(factories.secret(), actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, outcome, truth="old", code="policy", sentence="The host said no.")
    return Run.objects.get(pk=run.pk)


def shown(client, path: str) -> set:
    return {row.pk for row in client.get(path).context["page"].rows}


def recorded(dot, outcome: str = "succeeded") -> int:
    trail.record("kms:Test", "*", actor=dot.principal, outcome=outcome)
    return AuditEvent.objects.latest("sequence").pk


def export(client, path: str) -> str:
    return b"".join(client.get(path).streaming_content).decode()


# ---------------------------------------------------------------- several choices


def test_runs_narrow_to_several_outcomes_and_to_those_under_way(as_dot):
    failed, blocked, succeeded = (ended(outcome) for outcome in ("failed", "blocked", "succeeded"))
    active = runs.start(factories.secret(), actor=factories.administrator())
    both = "/all/rotations/?outcome=failed&outcome=blocked"
    assert shown(as_dot, both) == {failed.pk, blocked.pk}
    assert shown(as_dot, "/all/rotations/?outcome=active&outcome=succeeded") == {active.pk, succeeded.pk}
    assert shown(as_dot, "/all/rotations/?outcome=active") == {active.pk}
    assert shown(as_dot, "/all/rotations/?outcome=nonsense&outcome=failed") == {failed.pk}
    assert len(shown(as_dot, "/all/rotations/?outcome=nonsense&outcome=")) == 4
    lines = export(as_dot, "/all/rotations/export.csv?outcome=failed&outcome=blocked").splitlines()
    assert len(lines) == 3
    event = AuditEvent.objects.get(action="kms:ExportRotations")
    assert event.details["filters"] == {"outcome": "failed, blocked"}


def test_runs_narrow_to_several_kinds_and_triggers(as_dot):
    one, other, third = (ended("failed") for _ in range(3))
    Run.objects.filter(pk=one.pk).update(kind="verify", trigger="schedule")
    Run.objects.filter(pk=other.pk).update(kind="drift", trigger="retry")
    assert shown(as_dot, "/all/rotations/?kind=verify&kind=drift") == {one.pk, other.pk}
    assert shown(as_dot, "/all/rotations/?trigger=schedule&trigger=manual") == {one.pk, third.pk}


WAYS = pytest.mark.parametrize(
    ("listed", "expects"), [(4_000, 0), (0, 100), (0, 10**6)], ids=["few", "many", "most"]
)


def some_are(monkeypatch, listed: int, expects: int) -> None:
    """Have rows be found as among so many, whatever the statistics are."""
    monkeypatch.setattr(secret_filters, "MOST_LISTED", listed)
    monkeypatch.setattr(expected, "number", lambda rows: expects)


@WAYS
def test_secrets_narrow_to_those_that_do_not_rotate_automatically(as_dot, monkeypatch, listed, expects):
    some_are(monkeypatch, listed, expects)
    on, off, deleted = (factories.secret() for _ in range(3))
    Schedule.objects.update(is_on=False)
    Schedule.objects.filter(secret=on).update(is_on=True)
    Secret.objects.filter(pk=deleted.pk).update(purged_at="2026-01-01T00:00Z")
    assert factories.generic_secret().pk not in shown(as_dot, "/main/secrets/?automatic=off")
    assert shown(as_dot, "/main/secrets/?automatic=off") == {off.pk}
    assert shown(as_dot, "/main/secrets/?automatic=on") == {on.pk}


@WAYS
def test_secrets_narrow_to_several_credentials(as_dot, monkeypatch, listed, expects):
    some_are(monkeypatch, listed, expects)
    instance = factories.instance()
    by_state = {}
    for state in ("in_sync", "unverified", "blocked"):
        secret = factories.secret(instance=instance, username=state)
        ManagedAccount.objects.filter(secret=secret).update(credential=state)
        by_state[state] = secret.pk
    rotating = factories.secret(instance=instance, username="rotating")
    runs.start(rotating, actor=factories.administrator())
    path = "/main/secrets/?credential=in_sync&credential=unverified&credential=rotating"
    assert shown(as_dot, path) == {by_state["in_sync"], by_state["unverified"], rotating.pk}
    assert shown(as_dot, "/main/secrets/?credential=blocked") == {by_state["blocked"]}


def test_instances_narrow_to_several_states(as_dot):
    states = list(Instance.State)[:3]
    rows = [factories.instance() for _ in states]
    for row, state in zip(rows, states, strict=True):
        Instance.objects.filter(pk=row.pk).update(state=state)
    path = f"/main/instances/?status={states[0]}&status={states[2]}"
    assert shown(as_dot, path) == {rows[0].pk, rows[2].pk}


def test_events_narrow_to_several_outcomes(as_dot, dot):
    one, other, third = (recorded(dot, outcome) for outcome in ("denied", "failed", "succeeded"))
    assert shown(as_dot, "/audit/?action=kms:Test&outcome=denied&outcome=failed") == {one, other}
    assert shown(as_dot, "/audit/?action=kms:Test&outcome=succeeded") == {third}
    export(as_dot, "/audit/export.csv?outcome=denied&outcome=failed")
    event = AuditEvent.objects.get(action="kms:ExportAuditEvents")
    assert event.details["filters"] == {"outcome": "denied, failed"}


@pytest.mark.parametrize(
    ("query", "said"),
    [("", "All outcomes"), ("outcome=failed&outcome=blocked", "Failed, Blocked"), (None, "3 chosen")],
)
def test_a_menu_says_what_is_chosen_in_it_and_works_as_a_plain_form(as_dot, query, said):
    ended("failed")
    query = "outcome=failed&outcome=blocked&outcome=succeeded" if query is None else query
    page = as_dot.get(f"/all/rotations/?{query}").content.decode()
    menu = re.search(r"<details[^>]*data-every=\"All outcomes\".*?</details>", page, re.S)
    assert menu
    assert f"<span data-chosen>{said}</span>" in menu[0]
    ticked = re.findall(r'name="outcome" value="(\w+)" checked', menu[0])
    assert set(ticked) == set(QueryDict(query).getlist("outcome"))
    assert re.search(r'<form method="get" action="/all/rotations/"', page)
    assert 'type="submit" aria-label="Search"' in page


def test_a_list_without_a_search_keeps_a_button_that_applies_its_filters(as_dot):
    assert 'type="submit">Search<' in as_dot.get("/audit/?outcome=failed").content.decode()


# ---------------------------------------------------------------- secrets


def names(client, query: str) -> set[str]:
    path = f"/all/secrets/?{query}"
    found = {row.name for row in client.get(path).context["page"].rows}
    lines = csv.DictReader(io.StringIO(export(client, f"/all/secrets/export.csv?{query}")))
    assert {line["name"] for line in lines} == found
    return found


@pytest.fixture
def three() -> dict[str, str]:
    """A password on one instance, another on a second one, and a token of no account."""
    web, db = factories.instance(), factories.instance()
    Instance.objects.filter(pk=web.pk).update(name="web-x", instance_id="i-webx")
    Instance.objects.filter(pk=db.pk).update(name="db-x")
    key = key_states.create("team/pay", actor=factories.administrator())
    return {
        "web": factories.secret(instance=web, username="svc", tags={"team": "web", "zone": "a"}).name,
        "db": factories.secret(instance=db, username="root", tags={"team": "db"}).name,
        "token": factories.generic_secret(value="x", key=key, tags={"team": ""}).name,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=password", "web db"),
        ("kind=key_pair", ""),
        ("kind=password&kind=key_pair", "web db"),
        ("instance=WEB-x", "web"),
        ("instance=i-webx", "web"),
        ("instance=web", ""),
        ("user=svc", "web"),
        ("user=sv", ""),
        ("tag=team", "web db token"),
        ("tag=team%3Dweb", "web"),
        ("tag=team%3D", "token"),
        ("tag=+team+%3D+web+", "web"),
        ("tag=web", ""),
        ("tag=++", "web db token"),
        ("tag=%3Dweb", ""),
        ("key=team/pay", "token"),
        ("key=nonsense", "web db token"),
        ("tag=team&user=root&kind=password&instance=db-x", "db"),
    ],
)
def test_secrets_narrow_to_a_kind_an_instance_a_user_a_tag_and_a_key(as_dot, three, query, found):
    assert names(as_dot, query) == {three[one] for one in found.split()}


def test_by_a_key_that_one_may_not_see_nothing_is_narrowed_and_no_menu_names_it(client, ann, three):
    statements = [{"Effect": "Allow", "Action": ["kms:ListSecrets", "kms:DescribeSecret"], "Resource": "*"}]
    may = policies.create(
        "reader", json.dumps({"Version": "1", "Statement": statements}), actor=factories.administrator()
    )
    policies.attach(may, ann, actor=factories.administrator())
    client.force_login(ann)
    answer = client.get("/all/secrets/?key=team/pay")
    assert {row.name for row in answer.context["page"].rows} == set(three.values())
    page = answer.content.decode()
    assert 'name="key"' not in page
    assert ">team/pay<" not in page


def test_the_filter_by_key_offers_the_keys_that_its_reader_may_see(client, dot, three):
    seen = key_states.create("team/seen", actor=factories.administrator())
    cal = factories.user("cal")
    give(cal, "lists", allow("kms:ListSecrets", "kms:ListKeys"), actor=dot)
    give(cal, "sees", allow("kms:DescribeKey", on=seen.arn), actor=dot)
    client.force_login(cal)
    choices = client.get("/all/secrets/").context["filters"].fields["key"].choices
    assert [value for value, _ in choices if value] == ["team/seen"]


def test_a_tag_is_a_link_to_the_secrets_that_have_it(as_dot, three):
    secret = Secret.objects.get(name=three["web"])
    for tab in ("overview", "tags"):
        page = as_dot.get(f"/main/secrets/{secret.pk}/?tab={tab}").content.decode()
        for href in ("/main/secrets/?tag=team%3Dweb", "/main/secrets/?tag=zone%3Da"):
            assert f'href="{href}"' in page
    as_dot.post("/lists/shown/", {"list": "secrets", "rows": "25", "columns": "tags"})
    listed = as_dot.get("/all/secrets/").content.decode()
    assert 'href="/all/secrets/?tag=team%3Dweb">team=web</a>' in listed
    assert shown(as_dot, "/all/secrets/?tag=team%3Dweb") == {secret.pk}


def test_a_tag_with_marks_of_an_address_is_found_by_its_link(as_dot):
    secret = factories.secret(tags={"a/b:c": "d=e@f + g/h"})
    page = as_dot.get(f"/main/secrets/{secret.pk}/?tab=tags").content.decode()
    (href,) = re.findall(r'href="(/main/secrets/\?tag=[^"]*)"', page)
    assert shown(as_dot, html.unescape(href)) == {secret.pk}


@pytest.mark.parametrize("tags", [{"a=b": "c=d"}, {"a=b": ""}, {"a": "=b"}, {" a ": " b "}])
def test_a_tag_that_a_program_made_is_found_by_its_link(as_dot, tags):
    secret = factories.secret(tags=tags)
    factories.secret(tags={"a": "x"})
    page = as_dot.get(f"/main/secrets/{secret.pk}/?tab=tags").content.decode()
    (href,) = re.findall(r'href="(/main/secrets/\?tag=[^"]*)"', page)
    assert shown(as_dot, html.unescape(href)) == {secret.pk}


@pytest.mark.parametrize("query", ["", "instance=web-x", "user=svc", "tag=team", "key=team/pay"])
def test_the_other_filters_are_open_where_one_is_set(as_dot, three, query):
    page = as_dot.get(f"/all/secrets/?{query}").content.decode()
    (state,) = re.findall(r'<details class="filters-more"( open)?>', page)
    assert bool(state) is bool(query)


# ---------------------------------------------------------------- periods


@pytest.mark.parametrize(
    ("today", "periods"),
    [
        (
            date(2026, 11, 29),
            {
                "Today": ("2026-11-29", "2026-11-29"),
                "7 days": ("2026-11-23", "2026-11-29"),
                "Last month": ("2026-10-01", "2026-10-31"),
                "Last quarter": ("2026-07-01", "2026-09-30"),
            },
        ),
        (
            date(2028, 1, 3),
            {
                "Today": ("2028-01-03", "2028-01-03"),
                "7 days": ("2027-12-28", "2028-01-03"),
                "Last month": ("2027-12-01", "2027-12-31"),
                "Last quarter": ("2027-10-01", "2027-12-31"),
            },
        ),
        (
            date(2028, 3, 31),
            {
                "Today": ("2028-03-31", "2028-03-31"),
                "7 days": ("2028-03-25", "2028-03-31"),
                "Last month": ("2028-02-01", "2028-02-29"),
                "Last quarter": ("2027-10-01", "2027-12-31"),
            },
        ),
    ],
)
def test_a_period_by_name_is_whole_days_of_the_calendar(monkeypatch, today, periods):
    monkeypatch.setattr(period.timezone, "localdate", lambda: today)
    found = {one.label: (one.since, one.until) for one in run_forms.Filters(QueryDict()).presets()}
    assert found == periods
    timed = {one.label: (one.since, one.until) for one in event_forms.Filters(QueryDict()).presets()}
    assert timed == {name: (f"{a}T00:00", f"{b}T23:59") for name, (a, b) in periods.items()}


@pytest.mark.parametrize("path", ["/all/rotations/", "/audit/"])
def test_a_period_by_name_is_a_link_that_keeps_the_other_filters_and_says_when_it_holds(as_dot, path):
    ended("failed")
    links = (
        r'<a class="button button-quiet" href="\?([^"]*)" data-since="[^"]*" data-until="[^"]*"([^>]*)>Today'
    )
    page = as_dot.get(path, {"outcome": ["succeeded", "failed"], "page": "2", "before": "9"}).content.decode()
    query, current = re.search(links, page).groups()  # type: ignore[union-attr]
    asked = QueryDict(query.replace("&amp;", "&"))
    assert asked.getlist("outcome") == ["succeeded", "failed"]
    assert asked.keys() == {"outcome", "since", "until"}
    assert not current
    answer = as_dot.get(f"{path}?{asked.urlencode()}")
    assert answer.context["page"].rows
    _, current = re.search(links, answer.content.decode()).groups()  # type: ignore[union-attr]
    assert 'aria-current="true"' in current


def test_the_last_minute_of_a_period_of_events_is_in_it(as_dot):
    factories.secret()
    event = AuditEvent.objects.first()
    assert event
    assert event.pk in shown(as_dot, f"/audit/?until={event.at:%Y-%m-%dT%H:%M}")
    before = event.at - timedelta(minutes=1)
    assert event.pk not in shown(as_dot, f"/audit/?until={before:%Y-%m-%dT%H:%M}")


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("address", ["10.0", "10.0.0.0/8", "nonsense", "::g"])
def test_an_address_that_is_none_is_said_beside_its_field(as_dot, address):
    factories.secret()
    page = as_dot.get("/audit/", {"address": address}).content.decode()
    assert "Enter a whole IP address, such as 192.0.2.7 or 2001:db8::7." in page
    field = re.search(r'<input[^>]*name="address"[^>]*>', page)
    assert field
    assert 'aria-invalid="true" aria-describedby="address-error"' in field[0]
    assert 'id="address-error"' in page
    assert f'value="{address}"' in field[0]
    assert 'id="list-clear" href="/audit/">Clear' in page


def test_an_address_is_found_however_it_is_written(as_dot, dot):
    with origin.bind(address="2001:db8::7"):
        event = recorded(dot)
    assert shown(as_dot, "/audit/?address=2001:0DB8:0:0::7") == {event}
