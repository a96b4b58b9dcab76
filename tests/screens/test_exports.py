"""Lists as files: what the filter shows, safe to open, written down."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from console.lists import exports
from console.views import exports as views
from rotation import leases, missed, runs
from rotation.bulk import bulk_actions
from rotation.inventory import management
from rotation.models import ManagementCredential, Run
from secrets_app import seals
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, User
from secrets_app.people import invitations, users
from secrets_app.policy import grants, policies
from tests import factories

pytestmark = pytest.mark.django_db


def text(client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


def table(client, path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(client, path))))


def ended(outcome: str = "failed", **fields: str) -> Run:
    run = runs.start(factories.secret(), actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, outcome, **fields)
    return Run.objects.get(pk=run.pk)


def test_the_history_is_exported_as_the_filter_shows_it(as_dot):
    failed, other = ended(truth="old", code="policy", sentence="The host said no."), ended("succeeded")
    (row,) = table(as_dot, "/all/rotations/export.csv?outcome=failed")
    assert (row["run_id"], row["secret"]) == (str(failed.pk), failed.secret.name)
    assert row["outcome"] == "Failed: the old value works"
    assert row["sentence"] == "The host said no."
    lines = [json.loads(line) for line in text(as_dot, "/all/rotations/export.jsonl").splitlines()]
    assert [line["run_id"] for line in lines] == [str(other.pk), str(failed.pk)]
    assert datetime.fromisoformat(lines[0]["started"]).utcoffset().total_seconds() == 0


def test_missed_dates_are_exported_with_the_first_the_last_and_their_number(as_dot):
    run = ended()
    dates = [datetime(2026, 1, day, 2, tzinfo=UTC) for day in (3, 4, 5)]
    missed.note(run.secret, dates, "missed_down")
    (row,) = table(as_dot, "/all/rotations/export.csv?outcome=missed")
    assert (row["outcome"], row["reason"], row["dates_missed"]) == ("Missed", "missed_down", "3")
    assert [row["date"][:10], row["last_date_missed"][:10]] == ["2026-01-03", "2026-01-05"]


def test_the_history_narrows_by_time_instance_and_trigger_in_the_url(as_dot):
    old, new = ended(), ended()
    Run.objects.filter(pk=old.pk).update(created_at="2026-01-31T23:30:00Z", trigger="schedule")

    def shown(query: str) -> set[str]:
        return {str(run.pk) for run in as_dot.get(f"/all/rotations/?{query}").context["page"].rows}

    assert shown("until=2026-01-31") == {str(old.pk)}
    assert shown("since=2026-02-01") == {str(new.pk)}
    assert shown("since=2026-01-31&until=2026-01-31") == {str(old.pk)}
    assert shown("until=2026-01-30") == set()
    assert shown("trigger=schedule") == {str(old.pk)}
    assert shown(f"instance={new.instance.name}") == {str(new.pk)}
    assert shown(f"instance={old.instance.instance_id}") == {str(old.pk)}
    assert shown("since=nonsense&trigger=nonsense") == {str(old.pk), str(new.pk)}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_is_never_a_formula(start):
    assert exports.cell(f"{start}1+1") == f"'{start}1+1"
    assert exports.cell("web-01") == "web-01"


def test_a_hosts_words_do_not_become_a_formula_in_the_file(as_dot):
    ended(sentence='=HYPERLINK("http://example.com")')
    (row,) = table(as_dot, "/all/rotations/export.csv")
    assert row["sentence"].startswith("'=")


def test_secrets_and_instances_are_exported_without_any_value(as_dot):
    secret = factories.secret(initial="Tr0ub4dor&3 and more")
    (row,) = table(as_dot, "/main/secrets/export.csv")
    assert (row["name"], row["user"], row["credential"]) == (secret.name, "svc", "Not yet verified")
    assert "Tr0ub4dor" not in str(row)
    (row,) = table(as_dot, "/main/instances/export.csv")
    assert (row["name"], row["secrets"], row["host_key"]) == (secret.managed.instance.name, "1", "Pinned")
    assert table(as_dot, "/main/secrets/export.csv?q=nobody") == []


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/all/rotations/export.csv?outcome=failed", "kms:ExportRotations"),
        ("/main/secrets/export.csv", "kms:ExportSecrets"),
        ("/all/instances/export.csv", "kms:ExportInstances"),
    ],
)
def test_who_took_a_list_away_is_recorded_with_the_filter(as_dot, dot, path, action):
    factories.region()
    text(as_dot, path)
    event = AuditEvent.objects.get(action=action)
    assert event.actor == dot.principal
    assert event.details["filters"] == ({"outcome": "failed"} if "outcome" in path else {})


def test_who_may_not_list_may_not_export(client, hal, ann):
    factories.region()
    client.force_login(hal)
    assert client.get("/all/rotations/export.csv").status_code == 403
    assert client.get("/all/instances/export.csv").status_code == 403
    client.force_login(ann)
    assert client.get("/all/secrets/export.csv").status_code == 403
    assert not AuditEvent.objects.filter(action__startswith="kms:Export").exists()


@pytest.mark.parametrize("path", ["rotations", "secrets", "instances"])
def test_the_queries_of_an_export_do_not_grow_with_the_rows(as_dot, path):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            text(as_dot, f"/all/{path}/export.csv")
        return len(seen)

    ended()
    few = queries()
    for _ in range(5):
        ended()
    assert queries() == few


@pytest.mark.parametrize("path", ["rotations", "secrets", "instances"])
def test_each_list_offers_its_export_with_the_filter_of_the_page(as_dot, path):
    ended()
    page = as_dot.get(f"/all/{path}/", {"q": "svc", "page": "1"}).content.decode()
    assert f"/all/{path}/export.csv?q=svc" in page


# ---------------------------------------------------------------- lists of no region

#: By the path of a list: its event, and what the first column of its rows is called.
LISTS = {
    "/credentials/": ("kms:ExportManagementCredentials", "name"),
    "/access/users/": ("kms:ExportUsers", "name"),
    "/access/groups/": ("kms:ExportGroups", "name"),
    "/access/policies/": ("kms:ExportPolicies", "name"),
    "/keys/": ("kms:ExportKeys", "alias"),
}


def names(page) -> list[str]:
    return [
        row.username if isinstance(row, User) else getattr(row, "alias", "") or row.name for row in page.rows
    ]


@pytest.fixture
def some(dot) -> None:
    """Rows of every list, each with a name that a spreadsheet would run."""
    by = factories.administrator()
    credential = factories.credential()
    ManagementCredential.objects.filter(pk=credential.pk).update(name="=cmd()")
    seals.accept(ManagementCredential.objects.get(pk=credential.pk))
    group = users.create_group("night", actor=by)
    Group.objects.filter(pk=group.pk).update(name="=1+1")
    policies.create("reader", policies.document(["kms:DescribeSecret"]), description="@SUM(1)", actor=by)
    key_states.create("team/one", description="-2+3", actor=by)
    User.objects.filter(pk=factories.user("eve").pk).update(display_name="+1")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_no_region_is_exported_whole_as_its_page_shows_it(as_dot, dot, some, path):
    action, column = LISTS[path]
    page = as_dot.get(path)
    assert f'href="{path}export.csv' in page.content.decode()
    listed = page.context["page"]
    rows = table(as_dot, f"{path}export.csv")
    named = [exports.cell(name) for name in names(listed)]
    assert sorted(row[column] for row in rows) == sorted(named)
    assert not [cell for row in rows for cell in row.values() if cell.startswith(exports.FORMULA_STARTS)]
    assert [cell for row in rows for cell in row.values() if cell.startswith("'")]
    event = AuditEvent.objects.get(action=action)
    assert (event.actor, event.details) == (dot.principal, {"format": "csv", "filters": {}})


@pytest.mark.parametrize("path", [path for path in LISTS if path != "/keys/"])
def test_an_export_has_the_filter_of_its_list_and_says_so(as_dot, some, path):
    assert table(as_dot, f"{path}export.csv?q=no-such-name&page=2&sort=name") == []
    event = AuditEvent.objects.get(action=LISTS[path][0])
    assert event.details["filters"] == {"q": "no-such-name"}


def test_users_and_policies_are_exported_by_their_state_and_kind(as_dot, some):
    User.objects.filter(username="eve").update(is_active=False)
    (row,) = table(as_dot, "/access/users/export.csv?state=disabled")
    assert (row["name"], row["status"], row["display_name"]) == ("eve", "Disabled", "'+1")
    (row,) = table(as_dot, "/access/policies/export.csv?kind=custom")
    assert (row["name"], row["kind"], row["description"]) == ("reader", "Custom policy", "'@SUM(1)")
    assert len(table(as_dot, "/access/policies/export.csv?kind=custom&kind=system")) > 1


def test_an_export_holds_only_what_its_reader_may_describe(client, ann, some):
    give = {
        "kms:ListUsers": "*", "kms:DescribeUser": "acs:kms:*:*:user/ann",
        "kms:ListKeys": "*", "kms:DescribeKey": "acs:kms:*:*:key/team/*",
        "kms:ListPolicies": "*", "kms:DescribePolicy": "acs:kms:*:*:policy/none",
        "kms:ListManagementCredentials": "*",
    }  # fmt: skip
    text_ = [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in give.items()]
    may = policies.create(
        "some", json.dumps({"Version": "1", "Statement": text_}), actor=factories.administrator()
    )
    policies.attach(may, ann, actor=factories.administrator())
    users.join(
        users.create_group("day", actor=factories.administrator()), [ann], actor=factories.administrator()
    )
    client.force_login(ann)
    (row,) = table(client, "/access/users/export.csv")
    assert (row["name"], row["groups"]) == ("ann", "")  # she may list no groups
    assert [row["alias"] for row in table(client, "/keys/export.csv")] == ["team/one"]
    assert table(client, "/access/policies/export.csv") == []
    assert table(client, "/credentials/export.csv") == []
    assert client.get("/access/groups/export.csv").status_code == 403
    assert not AuditEvent.objects.filter(action="kms:ExportGroups", outcome="succeeded").exists()


def test_no_export_of_credentials_and_keys_holds_a_value(as_dot, some):
    value = Plaintext("Tr0ub4dor-of-root")
    management.create_credential(
        "by-password", "root", sudo="none", actor=factories.administrator(), password=value
    )
    rows = text(as_dot, "/credentials/export.csv")
    assert "by-password,root" in rows
    assert "Tr0ub4dor" not in rows
    assert "PRIVATE" not in rows


@pytest.mark.parametrize("path", LISTS)
def test_the_queries_of_an_export_of_no_region_do_not_grow_with_the_rows(as_dot, some, path):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            text(as_dot, f"{path}export.csv")
        return len(seen)

    by = factories.administrator()
    queries()
    few = queries()
    for n in range(4):
        factories.credential()
        users.create_group(f"more-{n}", actor=by)
        policies.create(f"more-{n}", policies.document(["kms:DescribeSecret"]), actor=by)
        key_states.create(f"more/{n}", actor=by)
        factories.user(f"more{n}", "helpdesk")
    assert queries() == few


# ---------------------------------------------------------------- regions and background actions


def test_the_regions_are_exported_with_what_is_in_them(as_dot):
    factories.secret()
    page = as_dot.get("/settings/regions/").content.decode()
    assert 'href="/settings/regions/export.csv"' in page
    (row,) = table(as_dot, "/settings/regions/export.csv")
    assert (row["code"], row["secrets"], row["instances"], row["retired"]) == ("main", "1", "1", "")


def test_a_background_action_is_exported_row_by_row_to_its_user_alone(as_dot, dot, client, hal):
    made = [factories.secret(initial="Tr0ub4dor&3 and more") for _ in range(2)]
    for one in made:
        factories.settle(one)
    ids = [one.pk for one in made]
    bulk = bulk_actions.start("rotate", ids, actor=dot.principal, token="press")
    bulk_actions.carry(bulk.pk, wake=lambda run: None)
    path = f"/background/{bulk.pk}/export.csv"
    assert f'href="{path}"' in as_dot.get(f"/background/{bulk.pk}/").content.decode()
    first, second = table(as_dot, path)
    assert [first["number"], second["number"]] == ["1", "2"]
    assert [first["secret"], second["secret"]] == [one.name for one in made]
    assert first["result"] == "Queued"
    assert first["run_id"] == str(made[0].runs.get(kind="rotate").pk)
    client.force_login(hal)
    assert client.get(path).status_code == 404
    assert AuditEvent.objects.filter(action="kms:ExportBulkAction").count() == 1


# ---------------------------------------------------------------- invitations and the access review


def test_open_invitations_are_exported_without_their_links(as_dot, dot):
    _, link = invitations.invite("guest", actor=dot.principal, groups=["auditors"], display_name="=1+1")
    users_page = as_dot.get("/access/invitations/").content.decode()
    assert 'href="/access/invitations/export.csv"' in users_page
    whole = text(as_dot, "/access/invitations/export.csv")
    assert link.reveal() not in whole
    (row,) = csv.DictReader(io.StringIO(whole))
    assert (row["user_name"], row["display_name"], row["kind"]) == ("guest", "'=1+1", "Invitation")
    assert (row["groups"], row["invited_by"]) == ("auditors", "dot")


def test_invitations_and_the_review_are_exported_to_those_who_see_the_pages(client, hal, aud):
    for path in ("/access/invitations/export.csv", "/access/review/export.csv"):
        client.force_login(hal)
        assert client.get(path).status_code == 403
        client.force_login(aud)
        assert client.get(path).status_code == 200
    assert AuditEvent.objects.filter(action="kms:ExportAccessReview", outcome="succeeded").count() == 1


def test_the_review_is_exported_as_the_search_leaves_it_and_names_all_readers(as_dot, monkeypatch):
    monkeypatch.setattr(views, "REVIEWED_AT_ONCE", 2)
    made = [factories.secret(name=f"web-{n}") for n in range(3)]
    other = factories.secret(name="db-1")
    ann = factories.user("ann")
    grants.grant(made[0], ann.principal, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    page = as_dot.get("/access/review/?q=web-").content.decode()
    assert 'href="/access/review/export.csv?q=web-"' in page
    rows = table(as_dot, "/access/review/export.csv?q=web-")
    assert [row["secret"] for row in rows] == [one.name for one in made]
    assert other.name not in [row["secret"] for row in rows]
    readers = [row["readers"].split(", ") for row in rows]
    assert "ann" in readers[0]
    assert "ann" not in readers[1] + readers[2]
    assert all("dot" in names for names in readers)
    assert [row["readers_in_all"] for row in rows] == [str(len(names)) for names in readers]
