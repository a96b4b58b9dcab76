"""Applications and their access keys on the screen: from the first key to the next one, without a gap."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.interfaces import new_regions
from console.interfaces.aws import calls
from console.presentation import snippets
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey, AuditEvent, Principal, User
from secrets_app.people import access_keys, machines, users
from secrets_app.policy import grants, policies
from tests import factories, sigv4

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
KEYS = "/access/access-keys/"


@pytest.fixture
def robot(dot) -> Principal:
    return machines.create("robot", actor=dot.principal)


@pytest.fixture
def give(dot):
    def attach(user: User, *actions: str, on: object = "*") -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
        text = json.dumps({"Version": "1", "Statement": [statement]})
        made = policies.create(f"for-{user}", text, actor=dot.principal)
        policies.attach(made, user, actor=dot.principal)

    return attach


@pytest.fixture
def as_ann(client: Client, ann) -> Client:
    client.force_login(ann)
    return client


def text(response) -> str:
    return unescape(response.content.decode())


def secret_in(response) -> str:
    """The secret of the key that was just made, as it stands on the page."""
    found = re.search(r'id="access-key-secret"[^>]*>([^<]+)<', text(response))
    assert found, text(response)
    return found[1]


def used(key: AccessKey, **fields: object) -> None:
    given = {"last_used_at": timezone.now(), "last_used_from": "10.1.2.3", "last_used_for": "GetSecretValue"}
    AccessKey.objects.filter(pk=key.pk).update(**(given | fields))


def make(client: Client, of: Principal, **given: str):
    return client.post(reverse("access_key_create"), {"owner": of.pk, "lifetime": "", **given}, headers=HTMX)


# ---------------------------------------------------------------- applications


def test_an_application_is_created_given_rights_and_disabled_on_its_pages(as_dot, dot):
    for wrong in ("", "no spaces", "dot", "a\0b", "a" * 65):
        assert as_dot.post(reverse("application_create"), {"name": wrong}).status_code == 422, wrong
    answer = as_dot.post(reverse("application_create"), {"name": "robot"})
    robot = Principal.objects.get(name="robot")
    page = reverse("application", args=[robot.pk])
    assert answer["Location"] == page
    policy = policies.create("reads", policies.document(["kms:DescribeSecret"]), actor=dot.principal)
    as_dot.post(reverse("policy_attach"), {"policy": policy.pk, "to": f"machine:{robot.pk}"})
    secret = factories.generic_secret(name="app/db")
    given = {"to": f"machine:{robot.pk}", "actions": [Action.GET_SECRET_VALUE.value]}
    as_dot.post(reverse("secret_grant", args=["main", secret.pk]), given)
    group = users.create_group("readers", actor=dot.principal)
    as_dot.post(reverse("group_join", args=[group.pk]), {"members": [robot.pk]})
    shown = text(as_dot.get(page))
    for words in ("reads", "Attached to the application", "app/db", "Granted to the application", "readers"):
        assert words in shown, words
    assert page in text(as_dot.get(reverse("group", args=[group.pk])))
    assert page in text(as_dot.get(reverse("policy", args=[policy.pk])))
    assert page in text(as_dot.get(reverse("secret", args=["main", secret.pk]) + "?tab=permissions"))
    as_dot.post(reverse("application_disable", args=[robot.pk]), {"reason": "leaked"})
    robot.refresh_from_db()
    assert not robot.is_active
    assert AuditEvent.objects.get(action=Action.DISABLE_USER).reason == "leaked"
    as_dot.post(reverse("application_enable", args=[robot.pk]), {})
    as_dot.post(reverse("group_leave", args=[group.pk, robot.pk]))
    robot.refresh_from_db()
    assert robot.is_active
    assert not robot.groups.exists()


def test_lists_show_filter_sort_and_export_only_what_their_reader_may_see(as_ann, ann, robot, dot, give):
    hidden = machines.create("unseen", actor=dot.principal)
    for owner in (robot, hidden, dot.principal):
        access_keys.create(owner, actor=dot.principal)
    for path in ("/access/applications/", KEYS):
        assert as_ann.get(path).status_code == 403
        assert as_ann.get(f"{path}export.csv").status_code == 403
    names = ["kms:ListUsers", "kms:DescribeUser", "kms:ListAccessKeys"]
    give(ann, *names, on=["acs:kms::*:user", "acs:kms::*:user/robot"])
    for path, column in (("/access/applications/", "name"), (KEYS, "owner")):
        page = text(as_ann.get(path))
        assert "robot" in page
        assert "unseen" not in page
        assert "Create a" not in page
        body = b"".join(as_ann.get(f"{path}export.csv").streaming_content).decode()
        assert [row[column] for row in csv.DictReader(io.StringIO(body))] == ["robot"]
        for sort in ("used", "-created", "owner", "name"):
            assert as_ann.get(path, {"sort": sort, "state": "enabled", "q": "rob"}).context["page"].rows
        assert not as_ann.get(path, {"state": "disabled"}).context["page"].rows
    assert as_ann.get(reverse("application", args=[hidden.pk])).status_code == 404
    key = AccessKey.objects.get(principal=hidden)
    for name in ("rotate", "disable", "enable", "delete"):
        assert as_ann.get(reverse(f"access_key_{name}", args=[key.pk])).status_code == 404


def test_the_queries_of_a_list_do_not_grow_with_its_rows(as_dot, dot, robot):
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert as_dot.get(path).status_code == 200
        return len(seen)

    paths = ("/access/applications/", KEYS, "/access/applications/export.csv", f"{KEYS}export.csv")
    access_keys.create(robot, actor=dot.principal)
    for path in paths:
        queries(path)
    few = [queries(path) for path in paths]
    for name in ("r1", "r2", "r3"):
        access_keys.create(machines.create(name, actor=dot.principal), actor=dot.principal)
    assert [queries(path) for path in paths] == few


def test_the_search_finds_applications_and_access_keys_for_those_who_may_list_them(as_dot, dot, robot, ann):
    key, _ = access_keys.create(robot, actor=dot.principal)
    for words, found in (
        ("robo", "Applications"),
        (key.key_id, "Access keys"),
        (key.key_id[5:12], "Access keys"),
    ):
        groups = as_dot.get(reverse("search"), {"q": words}).context["groups"]
        assert found in [group.name for group in groups], words
    other = Client()
    other.force_login(ann)
    assert not other.get(reverse("search"), {"q": "robo"}).context["groups"]


# ---------------------------------------------------------------- access keys


def test_the_secret_of_a_new_key_is_shown_once_and_signs_requests(as_dot, dot, robot):
    secret = factories.generic_secret(name="app/db", value="correct-horse-1")
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET], actor=dot.principal)
    answer = make(as_dot, robot, lifetime="30", networks="127.0.0.0/8\n10.0.0.0/8", reason="shop")
    key = AccessKey.objects.get()
    assert (key.networks, key.principal) == (["127.0.0.0/8", "10.0.0.0/8"], robot)
    assert (key.expires_at - timezone.now()).days in {29, 30}
    shown, value = text(answer), secret_in(answer)
    for words in ("I have kept it", "Environment file", "Credentials file",
                  f"AWS_SECRET_ACCESS_KEY={value}",
                  "AWS_REGION=local-1",
                  "AWS_ENDPOINT_URL_SECRETS_MANAGER=http://testserver/aws/"):  # fmt: skip
        assert words in shown, words
    status, body = sigv4.Signer(key.key_id, Plaintext(value)).call("GetSecretValue", SecretId="app/db")
    assert (status, body.get("SecretString")) == (200, "correct-horse-1")
    for url in (KEYS, reverse("application", args=[robot.pk]), reverse("access_key_rotate", args=[key.pk])):
        page = text(as_dot.get(url))
        assert value not in page
        assert "GetSecretValue" in page  # what it was last used for
    assert value not in json.dumps(list(AuditEvent.objects.values_list("details", flat=True)))
    assert AuditEvent.objects.get(action=Action.CREATE_ACCESS_KEY).reason == "shop"


def test_what_cannot_be_a_key_is_told_beside_its_field(as_dot, robot, dot):
    for given in (
        {"networks": "here"},
        {"networks": "10.0.0.1/8"},
        {"owner": "x"},
        {"lifetime": "7000"},
        {"reason": "a\0"},
    ):
        assert make(as_dot, robot, **given).status_code == 422, given
    for _ in range(2):
        assert make(as_dot, robot).status_code == 200
    assert "two access keys already" in text(make(as_dot, robot))
    assert AccessKey.objects.count() == 2
    machines.disable(robot, actor=dot.principal)
    assert make(as_dot, robot).status_code == 422


def test_a_key_is_replaced_without_a_gap_in_three_steps(as_dot, robot):
    old = Plaintext(secret_in(make(as_dot, robot, networks="127.0.0.0/8")))
    first = AccessKey.objects.get()
    url = reverse("access_key_rotate", args=[first.pk])
    assert "127.0.0.0/8" in text(as_dot.get(url))
    given = {"step": "create", "lifetime": "365", "networks": "127.0.0.0/8"}
    new = Plaintext(secret_in(as_dot.post(url, given, headers=HTMX)))
    second = AccessKey.objects.exclude(pk=first.pk).get()

    def accepted() -> list[bool]:
        ids = ((first.key_id, old), (second.key_id, new))
        return [sigv4.Signer(*one).call("GetRandomPassword")[0] == 200 for one in ids]

    assert "has not been used yet" in text(as_dot.get(url))
    assert accepted() == [True, True]
    assert "has not been used yet" not in text(as_dot.get(url))
    # The form of a step that is done already does nothing more.
    assert as_dot.post(url, given, headers=HTMX).status_code == 409
    assert as_dot.post(url, {"step": "delete"}, headers=HTMX).status_code == 409
    assert accepted() == [True, True]
    as_dot.post(url, {"step": "disable"})
    assert accepted() == [False, True]
    as_dot.post(url, {"step": "delete"})
    assert list(AccessKey.objects.all()) == [second]
    assert accepted() == [False, True]


def test_a_key_that_is_in_use_is_disabled_before_it_is_deleted(as_dot, dot, robot):
    key, _ = access_keys.create(robot, actor=dot.principal)
    used(key)
    delete = reverse("access_key_delete", args=[key.pk])
    assert delete not in text(as_dot.get(KEYS))
    assert as_dot.post(delete).status_code == 409
    assert AccessKey.objects.filter(pk=key.pk).exists()
    as_dot.post(reverse("access_key_disable", args=[key.pk]), {"reason": "leaked"})
    assert not AccessKey.objects.get().is_active
    as_dot.post(reverse("access_key_enable", args=[key.pk]))
    assert AccessKey.objects.get().is_active
    as_dot.post(reverse("access_key_disable", args=[key.pk]))
    assert delete in text(as_dot.get(KEYS))
    as_dot.post(delete, {"reason": "gone"})
    assert not AccessKey.objects.exists()
    assert AuditEvent.objects.get(action=Action.DELETE_ACCESS_KEY).reason == "gone"


def test_no_form_makes_or_enables_a_key_of_another_without_full_access(as_ann, ann, dot, robot, give):
    give(ann, "kms:*")
    key, _ = access_keys.create(robot, actor=dot.principal)
    access_keys.disable(key, actor=dot.principal)
    page = text(as_ann.get(KEYS))
    assert reverse("access_key_enable", args=[key.pk]) not in page
    assert reverse("access_key_rotate", args=[key.pk]) not in page
    for owner in (robot, dot.principal):
        assert make(as_ann, owner).status_code == 422  # she is not offered them
    for name in ("enable", "rotate"):
        url = reverse(f"access_key_{name}", args=[key.pk])
        assert as_ann.post(url, {"step": "create", "lifetime": ""}, headers=HTMX).status_code == 403
    assert not AccessKey.objects.get().is_active
    assert as_ann.post(reverse("application_enable", args=[robot.pk])).status_code == 403


def test_a_user_has_keys_of_their_own_by_a_right_on_themselves_alone(as_ann, ann, give):
    give(ann, "kms:ListAccessKeys", "kms:CreateAccessKey", "kms:UpdateAccessKey", on="acs:kms::*:user/ann")
    assert "Your access keys" in text(as_ann.get(KEYS))
    assert as_ann.get("/access/")["Location"] == KEYS
    assert make(as_ann, ann.principal).status_code == 200
    key = AccessKey.objects.get()
    page = text(as_ann.get(KEYS))
    assert key.key_id in page
    assert reverse("access_key_delete", args=[key.pk]) not in page
    as_ann.post(reverse("access_key_disable", args=[key.pk]))
    as_ann.post(reverse("access_key_enable", args=[key.pk]))
    assert AccessKey.objects.get().is_active


def test_the_state_of_a_key_is_the_first_that_is_true_and_each_is_a_filter(as_dot, dot):
    late = timezone.now() - timedelta(days=100)
    rows = {"enabled": {}, "disabled": {"is_active": False}, "expired": {"expires_at": late}, "owner": {}}
    for state, fields in rows.items():
        machine = machines.create(state, actor=dot.principal)
        key, _ = access_keys.create(machine, actor=dot.principal)
        used(key, **({"last_used_at": late} if state == "enabled" else {}), **fields)
        if state == "owner":
            machines.disable(machine, actor=dot.principal)
    labels = {}
    for state in rows:
        (row,) = as_dot.get(KEYS, {"state": state}).context["page"].rows
        assert row.key.principal.name == state
        labels[state] = row.state.label
    assert list(labels.values()) == ["Enabled", "Disabled", "Expired", "Owner disabled"]
    assert [row.key.principal.name for row in as_dot.get(KEYS, {"used": "late"}).context["page"].rows] == [
        "enabled"
    ]
    assert not as_dot.get(KEYS, {"used": "never"}).context["page"].rows
    assert not as_dot.get(KEYS, {"kind": "user"}).context["page"].rows


# ---------------------------------------------------------------- snippets


def test_each_snippet_names_the_address_the_region_and_the_secret_and_holds_no_key():
    filled = snippets.filled(endpoint="https://keys.example/aws/", region="local-1", secret="app/db")
    assert [one.label for one in filled] == [
        "Python (boto3)", "AWS CLI", "Terraform", "JavaScript", "Java (AWS SDK 2)",
        "Python (Alibaba Cloud SDK)",
    ]  # fmt: skip
    for one in filled:
        address = "keys.example" if one.name == "alibaba" else "https://keys.example/aws/"
        for words in (address, "local-1", "app/db"):
            assert words in one.text, (one.name, words)
        assert not re.search("secret_?access_?key|AKIA|session_?token", one.text, re.IGNORECASE), one.name


def test_a_region_has_the_name_that_clients_know_it_by(as_dot, settings):
    first, second = factories.region("main"), factories.region("west")
    assert (calls.name_of(first), calls.name_of(second)) == ("local-1", "west")
    settings.REGION_NAMES = {"kms-west.example.com": "west", "eu-west-1": "west"}
    assert calls.name_of(second) == "eu-west-1"
    for region in (first, second):
        assert new_regions.region(calls.name_of(region)) == region
    assert 'region_name="local-1"' in text(as_dot.get(KEYS))


def test_use_in_an_application_fills_in_the_secret_for_all_who_may_see_it_and_shows_no_value(
    as_dot, ann, give
):
    token = factories.generic_secret(name="app/db", value="correct-horse-1")
    managed = factories.secret(name="web/one", initial="correct-horse-2")
    for secret in (token, managed):
        url = reverse("secret_use", args=["main", secret.pk])
        for page in (
            reverse("secret", args=["main", secret.pk]),
            reverse("secret_menu", args=["main", secret.pk]),
        ):
            assert url in text(as_dot.get(page))
        shown = text(as_dot.get(url, headers=HTMX))
        assert shown.count(secret.name) >= len(snippets.ALL)
        assert "http://testserver/aws/" in shown
        assert "correct-horse" not in shown
    other = Client()
    other.force_login(ann)
    assert other.get(reverse("secret_use", args=["main", token.pk])).status_code == 404
    give(ann, "kms:DescribeSecret")
    assert other.get(reverse("secret_use", args=["main", token.pk])).status_code == 200


def test_the_python_snippet_reads_the_value_in_an_unmodified_boto3(
    as_dot, dot, robot, live_server, monkeypatch
):
    secret = factories.generic_secret(name="app/db", value="correct-horse-1")
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET], actor=dot.principal)
    value = secret_in(make(as_dot, robot))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", AccessKey.objects.get().key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", value)
    known: dict[str, object] = {}
    written = snippets.BOTO3.text(endpoint=f"{live_server.url}/aws/", region="local-1", secret="app/db")
    exec(written, known)  # noqa: S102  # it is ours
    assert known["value"] == "correct-horse-1"


def test_the_snippet_for_alibaba_cloud_reads_the_value_in_an_unmodified_sdk(
    as_dot, dot, robot, live_server, monkeypatch
):
    secret = factories.generic_secret(name="app/db", value="correct-horse-1")
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET], actor=dot.principal)
    value = secret_in(make(as_dot, robot))
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", AccessKey.objects.get().key_id)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", value)
    known: dict[str, object] = {}
    written = snippets.ALIBABA.text(endpoint=f"{live_server.url}/aws/", region="local-1", secret="app/db")
    exec(written, known)  # noqa: S102  # it is ours
    assert known["value"] == "correct-horse-1"
