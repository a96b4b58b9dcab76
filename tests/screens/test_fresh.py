"""What a borrowed browser must not do: the routes that ask who it is, held to the URL tree."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from console.sessions import expiry
from secrets_app.models import AuditEvent, Key, Policy, Secret
from tests import factories
from tests.factories import PASSWORD
from tests.screens.az_table import ROUTES

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
TABLE = Path(__file__).resolve().parents[2] / "docs/fresh.md"
#: What decides, for the rows that begin with "if": the first bodies ask, the second ones do not.
DEPENDS: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {
    "secret_rotate": (
        [
            {"use_custom": "on", "value": "A-Value-of-ones-own-0123456789-abc"},
            {"value": "hidden, and typed before"},
        ],
        [{"reason": "routine"}, {"reason": "leaked", "use_custom": "", "value": ""}],
    ),
    "secret_create": (
        [
            {"value": "what works now"},
            {"private_key": "KEY"},
            {"as_own_login": "on", "step": ""},
            {"generate": "on"},
            {"value": "", "private_key": ""},
        ],
        [],  # a step, which the next test sends
    ),
    "secrets_bulk": (
        [{"action": "delete"}, {"action": "tag", "secret": str(uuid.UUID(int=9))}],
        [{}, {"action": "rotate"}, {"action": "verify"}, {"action": "drift"}, {"action": "restore"}],
    ),
    "instance_register": ([{"credential": str(uuid.UUID(int=9))}], [{}, {"credential": "", "name": "db"}]),
}
READING = {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "*"}
ARGUMENTS = {
    "pk": uuid.UUID(int=7), "member": uuid.UUID(int=8), "version": uuid.UUID(int=9), "region": "main",
    "sequence": 1, "token": "none", "chapter": "screens", "form": "ecs",
}  # fmt: skip
#: A store counts on after a test that is undone: a small number may be that of the session that asks.
NO_NUMBER = 2_000_000_000


@dataclass(frozen=True)
class Row:
    asks: str  # yes, no, or the condition
    why: str


def table() -> dict[str, Row]:
    """The table of `docs/fresh.md`, by the names of the routes."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", TABLE.read_text(), re.MULTILINE)
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: Row(asks, why) for name, asks, why in rows}


def of_those(asks: str) -> dict[str, str]:
    """The addresses of the routes whose row says so."""
    return {
        pattern.name: address(pattern)
        for pattern in get_resolver().url_patterns
        if table().get(pattern.name, Row("", "")).asks == asks
    }


def address(pattern) -> str:
    """Where this route is, of a thing that there is none of: who it is comes first."""
    kinds = pattern.pattern.converters.items()
    is_number = {key: type(kind).__name__ == "IntConverter" for key, kind in kinds}
    given = {key: NO_NUMBER if is_number[key] else ARGUMENTS[key] for key, _ in kinds}
    return reverse(pattern.name, kwargs=given)


def grow_old(client: Client) -> None:
    kept = client.session
    kept[expiry.BEGAN_AT] -= 301
    kept.save()


@pytest.fixture
def stale(client, dot):
    """Return dot's client, six minutes after the sign-in."""
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    grow_old(client)
    return client


def is_asked(answer) -> bool:
    """True for a page that leads to confirming, and for a part of one that opens it as a dialog."""
    is_page = answer.headers.get("Location", "").startswith(reverse("account_reauthenticate"))
    return is_page or "confirmFirst" in answer.headers.get("HX-Trigger", "")


def test_every_form_says_whether_it_asks_and_why(stale, provider):
    taken = set()
    # Signing out comes last: it ends the session that the others are sent in.
    for pattern in sorted(get_resolver().url_patterns, key=lambda one: one.name == "account_logout"):
        if stale.post(address(pattern)).status_code != 405:
            taken.add(pattern.name)
    assert taken == set(table())
    for name, row in table().items():
        assert row.asks in {"yes", "no"} or row.asks.startswith("if "), name
        assert bool(re.match(r"[abcd](, [abcd])*: ", row.why)) == (row.asks != "no"), name
    assert {name for name, row in table().items() if row.asks.startswith("if ")} == set(DEPENDS)
    assert {name for name, route in ROUTES.items() if route.asks_again is True} == set(of_those("yes"))


def test_ses_06_what_equals_a_reveal_moves_a_value_gives_a_right_or_destroys_asks_who_it_is(stale, provider):
    wrong, asked, before = [], of_those("yes"), AuditEvent.objects.count()
    assert {"policy_edit", "secret_delete", "instance_approve", "secret_rotate_back"} <= set(asked)
    for name, where in asked.items():
        for method in (stale.get, stale.post):
            for headers in ({}, HTMX):
                answer = method(where, headers=headers)
                is_refused = method == stale.get and answer.status_code == 405
                if not is_refused and not is_asked(answer):
                    wrong.append(f"{name}: {method.__name__} answers {answer.status_code}")
    assert wrong == []
    assert AuditEvent.objects.count() == before


def test_ses_06_what_is_typed_decides_whether_rotate_create_and_register_ask(stale):
    wrong = []
    for name, (asking, quiet) in DEPENDS.items():
        where = reverse(
            name, kwargs={"region": "main"} | ({"pk": uuid.UUID(int=7)} if "rotate" in name else {})
        )
        for headers in ({}, HTMX):
            wrong += [
                f"{name} {body}" for body in asking if not is_asked(stale.post(where, body, headers=headers))
            ]
            wrong += [
                f"{name} {body}" for body in quiet if is_asked(stale.post(where, body, headers=headers))
            ]
            wrong += [f"{name} is not shown"] if is_asked(stale.get(where, headers=headers)) else []
    assert wrong == []


def test_only_a_part_of_the_wizard_is_a_step_and_the_whole_asks_whatever_it_says(stale):
    where = reverse("secret_create", args=["main"])
    typed = {"value": "what works now", "step": "1"}
    assert not is_asked(stale.post(where, typed, headers=HTMX))
    assert is_asked(stale.post(where, typed))


def test_ses_06_no_account_is_taken_with_a_generated_value_before_it_is_known_who_takes_it(stale):
    instance = factories.instance()
    typed = {
        "type": "ecs", "name": "web/svc", "instance": instance.name, "username": "svc", "kind": "password",
        "generate": "on", "length": "32", "sets": ["lower", "upper", "digits"], "rotation": "off",
    }  # fmt: skip
    where = reverse("secret_create", args=[instance.region.code])
    assert is_asked(stale.post(where, typed, headers=HTMX))
    assert not Secret.objects.exists()
    stale.post(reverse("account_reauthenticate"), {"password": PASSWORD}, headers=HTMX)
    stale.post(where, typed, headers=HTMX)
    assert Secret.objects.filter(name="acs/ecs/web/svc").exists()


def test_what_asks_nothing_goes_on_in_an_old_session(stale, provider):
    quiet = of_those("no")
    last = {"account_logout": quiet.pop("account_logout")}
    asking = {name for name, where in (quiet | last).items() if is_asked(stale.post(where))}
    # A way to confirm that does not fit leads to the others.
    assert {name for name in asking if table()[name].why != "it is the proof"} == set()


def test_ses_06_a_custom_value_goes_to_no_host_before_it_is_known_who_chose_it(stale):
    secret = factories.secret()
    factories.settle(secret)
    where = reverse("secret_rotate", args=["main", secret.pk])
    typed = {
        "reason": "routine",
        "use_custom": "on",
        "value": "A-Value-of-ones-own-0123456789-abc",
        "token": "one-press",
    }
    first = stale.post(where, typed, headers=HTMX)
    assert is_asked(first)
    assert not secret.runs.active().exists()
    kept = str(dict(stale.session)) + first.content.decode() + str(first.headers)
    assert typed["value"] not in kept
    # The browser has kept the form, and sends it again.
    stale.post(reverse("account_reauthenticate"), {"password": PASSWORD}, headers=HTMX)
    assert stale.post(where, typed, headers=HTMX).status_code == 202
    assert secret.runs.active().exists()


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
