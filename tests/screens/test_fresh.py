"""What a borrowed browser must not do: the routes that ask who it is, held to the URL tree."""

from __future__ import annotations

import json
import uuid
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from console import sessions
from secrets_app.models import AuditEvent, Key, Policy
from tests import factories
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
#: Rights, people, keys, credentials and the trail: whatever takes a POST there asks first.
ROOMS = ("access/", "keys/", "credentials/", "audit/", "second-factor/")
ELSEWHERE = {
    "secret_reveal", "secret_download", "secret_grant", "secret_revoke", "instance_attach",
    "instance_own_login",
}  # fmt: skip
#: They take from a thief and give nothing to one (a rotation, an ended session), or tell no secret.
NOT_ASKED = {"user_sessions_end", "user_revealed", "audit_verify", "simulator"}
LOOKS = {
    "access", "policies", "policy", "access_review", "groups", "group", "users", "user",
    "user_sessions", "invitations", "keys", "key", "key_progress", "credentials", "credential", "audit",
    "audit_event", "audit_export_csv", "audit_export_json", "mfa_index",
}  # fmt: skip
READING = {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "*"}
ARGUMENTS = {"pk": uuid.UUID(int=7), "member": uuid.UUID(int=8), "region": "main", "sequence": 1}


def address(pattern) -> str:
    """Where this route is, of a thing that there is none of: who it is comes first."""
    kinds = pattern.pattern.converters.items()
    given = {key: 7 if type(kind).__name__ == "IntConverter" else ARGUMENTS[key] for key, kind in kinds}
    return reverse(pattern.name, kwargs=given)


def routes() -> dict[str, str]:
    """Every route that must ask, and its address."""
    return {
        pattern.name: address(pattern)
        for pattern in get_resolver().url_patterns
        if (str(pattern.pattern).startswith(ROOMS) or pattern.name in ELSEWHERE)
        and pattern.name not in NOT_ASKED | LOOKS
    }


def grow_old(client: Client) -> None:
    kept = client.session
    kept[sessions.BEGAN_AT] -= 301
    kept.save()


@pytest.fixture
def stale(client, dot):
    """Return dot's client, six minutes after the sign-in."""
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    grow_old(client)
    return client


def test_ses_06_rights_people_keys_credentials_and_values_ask_who_it_is(stale, provider):
    wrong, wanted = [], reverse("account_reauthenticate")
    asked, before = routes(), AuditEvent.objects.count()
    assert {"policy_edit", "key_destroy", "group_join", "user_enable", "audit_look_up"} <= set(asked)
    assert set(asked) >= ELSEWHERE
    for name, where in asked.items():
        for method in (stale.get, stale.post):
            plain = method(where)
            is_refused = method == stale.get and plain.status_code == 405
            if not is_refused and not plain.headers.get("Location", "").startswith(wanted):
                wrong.append(f"{name}: {method.__name__} answers {plain.status_code}")
            part = method(where, headers=HTMX)
            if not is_refused and "confirmFirst" not in part.headers.get("HX-Trigger", ""):
                wrong.append(f"{name}: a part by {method.__name__} answers {part.status_code}")
    assert wrong == []
    assert AuditEvent.objects.count() == before


def test_what_only_looks_takes_no_form(stale):
    looks = [pattern for pattern in get_resolver().url_patterns if pattern.name in LOOKS]
    assert len(looks) == len(LOOKS)
    assert [one.name for one in looks if stale.post(address(one)).status_code != 405] == []


def test_ses_06_a_plain_form_that_answers_no_page_comes_back_to_one_that_does(stale):
    key = Key.objects.get()
    secret = factories.secret()
    for name, pk, back in (
        ("key_new_version", key.pk, reverse("key", args=[key.pk])),
        ("key_enable", key.pk, reverse("key", args=[key.pk])),
        ("key_cancel", key.pk, reverse("key", args=[key.pk])),
        ("invitation_revoke", key.pk, reverse("invitations")),
    ):
        asked = stale.post(reverse(name, args=[pk]))["Location"]
        assert asked.endswith(f"?{urlencode({'next': back})}"), name
    asked = stale.post(f"{reverse('secret_download', args=['main', secret.pk])}?version=abc")["Location"]
    assert asked.endswith("value%2F%3Fversion%3Dabc")


def test_ses_06_a_part_sent_again_after_confirming_does_its_work(stale):
    given = {
        "name": "readers",
        "description": "",
        "document": json.dumps({"Version": "1", "Statement": [READING]}),
    }
    where = reverse("policy_create")
    first = stale.post(where, given, headers=HTMX)
    assert json.loads(first["HX-Trigger"]) == {"confirmFirst": {}}
    assert not Policy.objects.filter(name="readers").exists()
    stale.post(reverse("account_reauthenticate"), {"password": PASSWORD}, headers=HTMX)
    stale.post(where, given, headers=HTMX)
    assert Policy.objects.filter(name="readers").exists()
