"""A secret that belongs to no instance, in a region with managed ones: on every screen, list and file."""

from __future__ import annotations

import csv
import json
import re
from datetime import timedelta
from uuid import UUID

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from console.presentation import secret_states
from console.reports import access_review
from rotation.bulk import bulk_actions
from rotation.managed import deletion
from rotation.models import BulkAction, Run
from secrets_app.actions import Action
from secrets_app.keys import key_states
from secrets_app.models import Secret, SecretVersion, User
from secrets_app.policy import decisions, grants
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

VALUE = "a token of another system"
SENTENCE = "This secret belongs to no instance, so there is nothing to rotate."
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
#: What is offered for an account and for nothing else.
OF_ACCOUNTS = (
    "Rotate Immediately", "Configuration rotation", "Check for drift", "Reconcile", "Rebind",
    "Rotate back to this value", "Password policy", "Managed User", "Last drift check",
)  # fmt: skip
TABS = ("overview", "versions", "history", "permissions", "tags", "audit")
#: What an administrator is answered: to GET, and to POST with an empty form. Another method is 405.
ROUTES = {
    "secret": (200, 405),
    "secret_menu": (200, 405),
    "secret_use": (200, 405),
    "secret_rotate": (409, 409),
    "secret_rotate_back": (409, 409),
    "secret_reveal": (200, 422),
    "secret_download": (405, 422),
    "secret_put_value": (200, 422),
    "secret_labels": (200, 302),
    "secret_edit": (200, 422),
    "secret_schedule": (409, 409),
    "secret_schedule_dates": (409, 405),
    "secret_drift": (405, 409),
    "secret_reconcile": (409, 409),
    "secret_dependants": (409, 409),
    "secret_dependants_look": (405, 409),
    "secret_dependants_retry": (409, 409),
    "secret_resolve": (409, 409),
    "secret_rebind": (409, 409),
    "secret_delete": (200, 422),
    "secret_grant": (200, 422),
    "secret_revoke": (404, 404),  # of nobody
    "secret_policy": (200, 422),
    "secret_restore": (409, 409),  # it is not pending deletion
}
#: Lists and reports that name secrets, or count them.
LISTS = ("secrets", "secrets_export", "overview", "instances", "instances_export", "rotations", "keys",
         "audit", "access_review", "home", "get_started", "users")  # fmt: skip


@pytest.fixture
def managed(open_keyring) -> Secret:
    made = factories.secret(name="db/svc", initial="a-first-value-1", is_on=True)
    factories.settle(made)
    return made


@pytest.fixture
def token(managed) -> Secret:
    made = factories.generic_secret(name="partner/token", value="an older token", tags={"team": "web"})
    SecretVersion.objects.update(created_at=timezone.now() - timedelta(days=1))
    made.labels.all().delete()
    versions.enter(made, versions.Value("", text=versions.Plaintext(VALUE)), actor=factories.administrator())
    return made


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return content.decode()


def of_a_secret() -> dict[str, str]:
    """Name and pattern of every route to one secret."""
    found = {
        str(one.name): str(one.pattern) for one in get_resolver().url_patterns if getattr(one, "name", "")
    }
    return {name: pattern for name, pattern in found.items() if "/secrets/<uuid:pk>/" in pattern}


def url(name: str, secret: Secret, region: str = "main") -> str:
    args: list[str | UUID] = [region, secret.pk]
    if "<uuid:version>" in of_a_secret()[name]:
        args.append(secret.versions.latest("-created_at").pk)
    return reverse(name, args=args)


def listed(name: str, region: str = "main") -> str:
    pattern = next(
        str(one.pattern) for one in get_resolver().url_patterns if getattr(one, "name", "") == name
    )
    return reverse(name, args=[region] if "<" in pattern else [])


def plan(secret: Secret) -> None:
    deletion.plan_deletion(secret, actor=factories.administrator())


# ---------------------------------------------------------------- every route of a secret


def test_every_route_of_a_secret_stands_in_the_table():
    assert of_a_secret().keys() == ROUTES.keys()


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize("name", ROUTES)
def test_a_route_works_or_refuses_in_one_sentence(as_dot, token, name, headers):
    for region in ("main", "all"):
        there = url(name, token, region)
        looked, done = as_dot.get(there, headers=headers), as_dot.post(there, headers=headers)
        is_led_on = "HX-Redirect" in done
        assert (looked.status_code, 302 if is_led_on else done.status_code) == ROUTES[name]
        for answer in (looked, done):
            if answer.status_code == 409 and name != "secret_restore":
                assert SENTENCE in text(answer)
    assert not Run.objects.filter(secret=token).exists()
    assert not hasattr(Secret.objects.get(pk=token.pk), "schedule")


@pytest.mark.parametrize("person", ["ann", "hal", "aud"])
@pytest.mark.parametrize("name", ROUTES)
def test_others_are_answered_as_for_a_managed_secret(token, managed, name, person, request):
    client = signed_in(request.getfixturevalue(person))
    for secret in (token, managed):
        assert secret.versions.exists()
    asked = [(client.get(url(name, one)), client.post(url(name, one))) for one in (token, managed)]
    statuses = [(looked.status_code, done.status_code) for looked, done in asked]
    assert statuses[0] == statuses[1]


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("person", ["dot", "aud"])
def test_every_tab_shows_it_and_offers_nothing_of_an_account(token, person, tab, request):
    response = signed_in(request.getfixturevalue(person)).get(url("secret", token), {"tab": tab})
    assert response.status_code == 200
    page = text(response)
    assert "partner/token" in page
    assert "Generic secret" in page
    assert [words for words in OF_ACCOUNTS if words in page] == []


def test_its_page_says_why_it_has_no_history_and_names_its_key_and_its_permissions(as_dot, token):
    assert SENTENCE in text(as_dot.get(url("secret", token)))
    assert SENTENCE in text(as_dot.get(url("secret", token), {"tab": "history"}))
    assert "default" in text(as_dot.get(url("secret", token)))
    assert re.search(r"All \d+ actions", text(as_dot.get(url("secret", token), {"tab": "permissions"})))
    assert token.labelled("current").version_id in text(as_dot.get(url("secret", token), {"tab": "versions"}))


# ---------------------------------------------------------------- what works


@pytest.mark.django_db(transaction=True)
def test_its_value_is_shown_without_a_user_or_a_command(token, dot):
    client = signed_in(dot)
    shown = text(client.post(url("secret_reveal", token), {"reason": "test"}))
    assert VALUE in shown
    assert "Log on with it" not in shown
    assert "Managed User" not in shown
    older = token.versions.earliest("created_at").version_id
    shown = text(client.post(f"{url('secret_reveal', token)}?version={older}", {"reason": "test"}))
    assert "an older token" in shown


def test_without_a_value_no_rotation_is_promised(as_dot, open_keyring):
    empty = factories.generic_secret()
    page = text(as_dot.get(url("secret_reveal", empty)))
    assert "No value is stored in this secret yet." in page
    assert "rotation" not in page.partition("dialog-content")[2].partition("</form>")[0]
    for tab in TABS:
        assert as_dot.get(url("secret", empty), {"tab": tab}).status_code == 200


def test_its_description_and_tags_are_edited(as_dot, token):
    sent = {"revision": "1", "description": "of a partner", "tags": "team=db"}
    assert as_dot.post(url("secret_edit", token), sent).status_code == 302
    token.refresh_from_db()
    assert (token.description, [str(tag) for tag in token.tags.all()]) == ("of a partner", ["team=db"])
    outdated = as_dot.post(url("secret_edit", token), sent)
    assert outdated.status_code == 409
    assert "Nothing was saved" in text(outdated)


def test_it_is_deleted_and_restored_on_the_screen(as_dot, token):
    sent = {"how": "plan", "days": "30", "reason": "decommissioned"}
    assert as_dot.post(url("secret_delete", token), sent).status_code == 302
    for tab in TABS:
        assert as_dot.get(url("secret", token), {"tab": tab}).status_code == 200
    page = text(as_dot.get(url("secret_restore", token)))
    assert "Versions, labels and tags are as they were." in page
    assert "Managed instance" not in page
    assert "checks on the instance" not in page
    response = as_dot.post(url("secret_restore", token), follow=True)
    assert "partner/token is restored." in text(response)
    assert "Keyturn is checking on the instance" not in text(response)
    now = {"how": "now", "name": token.name, "reason": "decommissioned"}
    response = as_dot.post(url("secret_delete", token), now, follow=True)
    assert "partner/token is deleted." in text(response)
    assert "on the instance" not in text(response)
    for tab in TABS:
        assert as_dot.get(url("secret", token), {"tab": tab}).status_code == 200


def test_a_right_on_it_is_granted_and_revoked(as_dot, token, ann):
    given = {"to": f"user:{ann.pk}", "actions": ["kms:DescribeSecret", "kms:GetSecretValue"]}
    assert as_dot.post(url("secret_grant", token), given).status_code == 302
    assert decisions.allows(ann.principal, Action.GET_SECRET_VALUE, token)
    gone = {"of": f"user:{ann.pk}", "actions": ["kms:GetSecretValue"]}
    assert as_dot.post(url("secret_revoke", token), gone).status_code == 302
    assert not decisions.allows(ann.principal, Action.GET_SECRET_VALUE, token)


def test_a_disabled_key_shuts_it_and_no_rotation_is_said_to_stop(as_dot, token):
    key_states.disable(token.key, actor=factories.administrator())
    page = text(as_dot.get(url("secret", token)))
    assert "no value of this secret can be read." in page
    assert "The credential on the instance was not changed" not in page
    assert as_dot.post(url("secret_reveal", token), {"reason": "test"}).status_code == 409


# ---------------------------------------------------------------- lists, files, reports


@pytest.mark.parametrize("person", ["dot", "hal", "aud"])
@pytest.mark.parametrize("name", LISTS)
def test_no_list_or_report_breaks_by_it(token, managed, name, person, request):
    client = signed_in(request.getfixturevalue(person))
    for region in ("main", "all"):
        response = client.get(listed(name, region), follow=True)
        assert response.status_code in {200, 403}
        if name in {"secrets", "secrets_export"}:
            assert "partner/token" in text(response)


@pytest.mark.parametrize("sort", ["name", "type", "instance", "user", "kind", "credential", "automatic",
                                  "next", "last", "status", "created"])  # fmt: skip
def test_the_list_has_it_in_every_order(as_dot, token, managed, sort):
    for order in (sort, f"-{sort}"):
        rows = as_dot.get(listed("secrets"), {"sort": order}).context["rows"]
        assert {row["name"] for row in rows} == {token.name, managed.name}


def test_a_filter_finds_it_by_name_and_status_and_never_by_what_only_an_account_has(as_dot, token, managed):
    def found(**chosen: str) -> set[str]:
        return {row["name"] for row in as_dot.get(listed("secrets"), chosen).context["rows"]}

    assert found(q="partner") == {token.name}
    assert found(status="enabled") == {token.name, managed.name}
    for choice in [*(key for key, _ in secret_states.CREDENTIAL_CHOICES)]:
        assert token.name not in found(credential=choice)
    for choice in ("on", "overdue", "off"):
        assert token.name not in found(automatic=choice)
    plan(token)
    assert found(status="pending_deletion") == {token.name}
    deletion.purge(factories.generic_secret(name="gone"), actor=factories.administrator())
    assert found(status="deleted") == {"gone"}


def test_its_row_offers_no_rotation(as_dot, token, managed):
    rows = {row["name"]: row for row in as_dot.get(listed("secrets")).context["rows"]}
    mine, other = rows[token.name], rows[managed.name]
    assert (mine["instance"], mine["username"], mine["kind"], mine["rotate_url"]) == ("", "", "Generic", "")
    assert other["rotate_url"]
    menu, other_menu = (
        text(as_dot.get(reverse("secret_menu", args=["main", one.pk]))) for one in (token, managed)
    )
    assert "Get secret value" in menu
    assert "Configuration rotation" not in menu
    assert "Configuration rotation" in other_menu


def test_the_file_has_its_line_with_empty_cells(as_dot, token, managed):
    lines = list(csv.DictReader(text(as_dot.get(listed("secrets_export"))).splitlines()))
    mine = next(line for line in lines if line["name"] == token.name)
    assert mine["type"] == "Generic secret"
    empty = ("instance", "instance_id", "address", "user", "kind", "next_rotation", "last_rotation")
    assert [mine[name] for name in empty] == [""] * len(empty)
    assert (mine["credential"], mine["automatic_rotation"]) == ("No instance", "Not rotated")
    assert VALUE not in json.dumps(lines)


def test_the_overview_counts_it_as_a_secret_and_nowhere_where_rotation_is_meant(as_dot, token, managed):
    managed.managed.credential = "in_sync"
    managed.managed.save()
    shown = as_dot.get(listed("overview")).context
    figures = {figure.label: figure for figure in shown["figures"]}
    assert figures["Secrets"].count == 2
    assert (figures["In sync"].count, figures["In sync"].note) == (1, "100% of all")
    assert (figures["Drifted"].count, figures["Overdue"].count) == (0, 0)
    assert [need.name for need in shown["attention"].needs] == []
    plan(token)
    Secret.objects.filter(pk=token.pk).update(deletion_due_at=timezone.now() + timedelta(days=1))
    (need,) = as_dot.get(listed("overview")).context["attention"].needs
    assert (need.name, need.where) == (token.name, "")


def test_it_ticks_no_step_of_the_first_steps(as_dot, open_keyring):
    factories.generic_secret(value=VALUE)
    context = as_dot.get(reverse("get_started")).context
    assert [step.is_done for step in context["progress"].steps if step.name == "create"] == [False]
    assert context["newest"] is None


def test_who_may_send_values_to_machines_is_no_reader_of_it(token, managed, ann, dot):
    for secret in (token, managed):
        grants.grant(secret, ann, [Action.REBIND_ACCOUNT], actor=dot.principal)
    rows = access_review.readers([token, managed], lambda principal: True)
    assert {one.secret.name: "ann" in one.names for one in rows} == {token.name: False, managed.name: True}


@pytest.mark.django_db(transaction=True)
def test_what_a_leaver_knows_of_it_is_told_and_not_rotated(token, managed, dot, ann):
    grants.grant(token, ann, [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE], actor=dot.principal)
    versions.reveal(token.labelled("current"), actor=ann.principal, reason="test")
    client, there = signed_in(dot), reverse("user_revealed", args=[ann.pk])
    page = text(client.get(there))
    assert token.name in page
    assert f"Rotate {token.name}" not in page
    shown = client.post(there, {"secret": [str(token.pk)]})["Location"]
    bulk_actions.carry(BulkAction.objects.get().pk, wake=lambda run: None)
    assert SENTENCE in text(client.get(shown))
    assert not Run.objects.filter(secret=token).exists()


@pytest.mark.django_db(transaction=True)
def test_its_value_is_found_by_the_look_up(token, dot):
    page = text(signed_in(dot).post(reverse("audit_look_up"), {"text": VALUE}))
    assert token.name in page
    assert token.labelled("current").version_id in page
