"""WEB-01 to WEB-05 on every route: what a browser is told, and what a request cannot do by being clever."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.handlers.base import BaseHandler
from django.db import OperationalError, connection
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from django.urls import get_resolver, reverse
from django.utils import timezone

from console.views.overview import overview
from rotation.models import Instance, Run, Schedule
from secrets_app import keyring
from secrets_app.models import Secret, User
from tests import factories
from tests.screens import az_world
from tests.screens.az_table import PERSONS, ROUTES
from tests.screens.test_az_01 import ON_EVERY_ANSWER

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("matrix")]

DOT = {"dot": PERSONS["dot"]}
#: A request may write these whatever its method: that it was asked, how often, and that somebody is there.
OF_ASKING = {
    "console_cacheentry",
    "secrets_app_auditevent", "secrets_app_audithead", "secrets_app_refusals", "django_session",
    "usersessions_usersession",
}  # fmt: skip


@pytest.fixture
def world() -> az_world.World:
    return az_world.build({"disabled": {}, **DOT})


def methods(name: str) -> set[str]:
    return set(re.findall(r"[A-Z]+", ROUTES[name].answers))


def url(world: az_world.World, name: str) -> str:
    return reverse(name, kwargs=world.args(ROUTES[name].of, "own", "dot"))


def as_dot(world: az_world.World, **options: Any) -> Client:
    client = Client(raise_request_exception=False, **options)
    client.cookies[django_settings.SESSION_COOKIE_NAME] = world.cookies["dot"]
    return client


# ---------------------------------------------------------------- WEB-01


def assert_told(answer) -> None:
    for name, value in ON_EVERY_ANSWER.items():
        assert answer.headers.get(name) == value, name


def test_web_01_what_is_broken_and_what_is_away_is_told_too(client, dot, monkeypatch):
    client.force_login(dot)
    client.raise_request_exception = False
    for error, status in ((RuntimeError, 500), (OperationalError, 503)):
        monkeypatch.setattr(overview, "Needs", _raising(error))
        answer = client.get("/all/overview/")
        assert answer.status_code == status
        assert_told(answer)
        assert "no-store" in answer["Cache-Control"]


def _raising(error: type[Exception]) -> Any:
    def fails(*args: object) -> None:
        raise error("the value hunter2 stood here")

    return fails


def test_web_01_sealed_mode_refused_forms_and_unknown_addresses_are_told_too(settings, tmp_path, dot):
    strict = Client(enforce_csrf_checks=True)
    for answer, status in ((strict.post("/sign-in/"), 403), (strict.get("/no/such/page"), 404)):
        assert answer.status_code == status
        assert_told(answer)
    settings.ROOT_KEY_FILE = tmp_path / "gone"
    keyring.forget()
    answer = strict.get("/sign-in/")
    keyring.forget()
    assert answer.status_code == 503
    assert_told(answer)


def test_web_01_static_files_and_missing_ones_are_told_too(client):
    for path in ("/static/css/base.css", "/static/no-such-file.css"):
        assert_told(client.get(path))


def test_web_01_by_https_the_browser_never_comes_back_by_http(client, settings):
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 31_536_000, True
    handler = BaseHandler()
    handler.load_middleware()
    for path in ("/sign-in/", "/no/such/page", "/healthz"):
        by_https = handler.get_response(RequestFactory().get(path, secure=True))
        assert by_https["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert "Strict-Transport-Security" not in handler.get_response(RequestFactory().get(path))


def test_web_01_htmx_evaluates_nothing_and_keeps_no_page(client):
    shown = client.get("/sign-in/").content.decode()
    kept = json.loads(re.search(r'name="htmx-config"\s+content=\'([^\']+)\'', shown)[1])
    told = {name: kept[name] for name in ("allowEval", "includeIndicatorStyles", "selfRequestsOnly")}
    assert told == {"allowEval": False, "includeIndicatorStyles": False, "selfRequestsOnly": True}
    assert (kept["allowScriptTags"], kept["historyCacheSize"]) == (False, 0)
    swapped = [rule for rule in kept["responseHandling"] if re.fullmatch(rule["code"], "422")]
    assert swapped[0]["swap"] is True


INLINE = re.compile(
    r"\shx-on|\bhx-vars|['\"]\s*js:|javascript:|hx-trigger=\"[^\"]*\[|<body[^>]*hx-headers"
    r"|\son[a-z]+\s*=|\sstyle\s*=|<script(?![^>]*\bsrc=)|<style|\|\s*safe\b|autoescape off",
    re.IGNORECASE,
)


def test_web_01_no_template_holds_code_of_its_own():
    files = list((django_settings.BASE_DIR / "templates").rglob("*.html"))
    found = {file.name: INLINE.findall(file.read_text()) for file in files}
    assert len(files) > 100
    assert {name: text for name, text in found.items() if text} == {}


# ---------------------------------------------------------------- WEB-02


def contents() -> dict[str, list[str]]:
    """All rows of each table, but of those that say who asked."""
    found = {}
    with connection.cursor() as cursor:
        for table in sorted(set(connection.introspection.table_names(cursor)) - OF_ASKING):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            rows = cursor.fetchall()
            found[table] = sorted(repr([_short(value) for value in _unnumbered(row)]) for row in rows)
    return found


def _unnumbered(row: Sequence[object]) -> Sequence[object]:
    """Without the number that a library's table gives a row: PostgreSQL takes none back with the row."""
    return row[1:] if connection.vendor == "postgresql" and type(row[0]) is int else row


def _short(value: object) -> object:
    is_bytes = isinstance(value, bytes | memoryview)
    return hashlib.sha256(value).hexdigest() if is_bytes else value  # type: ignore[arg-type]


def test_web_02_looking_at_everything_changes_nothing(world):
    client, before, asked = as_dot(world), contents(), 0
    assert len(before) > 30
    for name in ROUTES:
        for method in {"GET", "HEAD"} & methods(name):
            answer = client.generic(method, url(world, name))
            assert answer.status_code < 500 or name == "healthz", name
            asked += 1
    after = contents()
    assert {table for table in before if after[table] != before[table]} == set()
    assert connection.run_on_commit == []
    assert asked > 120


# ---------------------------------------------------------------- WEB-03


def test_web_03_every_form_is_refused_without_its_token_and_from_elsewhere(world):
    client, before, wrong = as_dot(world, enforce_csrf_checks=True), contents(), []
    cookie, token = csrf_pair()
    client.cookies[django_settings.CSRF_COOKIE_NAME] = cookie
    here = {"Origin": "http://testserver"}
    attempts = {
        "no token": ({}, here),
        "somebody else's token": ({"csrfmiddlewaretoken": csrf_pair()[1]}, here),
        "another site": ({"csrfmiddlewaretoken": token}, {"Origin": "https://evil.example"}),
        "no origin": ({"csrfmiddlewaretoken": token}, {"Origin": "null"}),
    }
    names = [name for name in ROUTES if "POST" in methods(name)]
    for name in names:
        for what, (given, headers) in attempts.items():
            if what in {"somebody else's token", "no origin"} and name not in {"secret_delete", "invite"}:
                continue  # the check is one for all; that it stands before each is shown by the others
            if (status := client.post(url(world, name), given, headers=headers).status_code) != 403:
                wrong.append(f"{name}, {what}: {status}")
    assert wrong == []
    assert len(names) > 60
    assert contents() == before
    # The same with the right token from here is let through, so it was the token that decided.
    assert client.post("/session/stay/", {"csrfmiddlewaretoken": token}, headers=here).status_code == 204


def csrf_pair() -> tuple[str, str]:
    request = RequestFactory().get("/")
    token = get_token(request)
    return request.META["CSRF_COOKIE"], token


def test_web_03_no_effect_hangs_on_a_safe_method_or_on_an_exempted_view():
    found = {str(one.pattern): one.callback for one in get_resolver().url_patterns}
    assert [path for path, view in found.items() if getattr(view, "csrf_exempt", False)] == []


# ---------------------------------------------------------------- WEB-04

WHERE = "/main/secrets/create/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def filled(dot) -> dict[str, Any]:
    factories.instance(name="web-main")
    return {
        "type": "ecs", "name": "web/svc", "instance": "web-main", "username": "svc", "kind": "password",
        "value": "a-first-value-1", "length": "32", "sets": ["lower", "upper", "digits"], "excluded": "",
        "description": "", "tags": "", "rotation": "on", "period": "7", "unit": "days",
    }  # fmt: skip


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_web_04_steps_that_were_passed_let_nothing_skip_the_check_of_the_whole(dot, filled):
    client = signed_in(dot)
    for step in ("1", "2"):
        assert client.post(WHERE, filled | {"step": step}, headers=HTMX).status_code == 200
    for wrong in ({"name": ""}, {"instance": "elsewhere"}, {"username": "a b"}, {"period": "0"}):
        for step in ({}, {"step": "3"}, {"step": "99"}, {"step": "ok"}):
            assert client.post(WHERE, filled | wrong | step, headers=HTMX).status_code == 422
    # Only the last one, without a step: the two before are remembered nowhere.
    last = {"rotation": "on", "period": "7", "unit": "days"}
    assert client.post(WHERE, last, headers=HTMX).status_code == 422
    assert not Secret.objects.exists()


def test_web_04_a_form_sent_again_makes_nothing_again(dot, filled):
    client = signed_in(dot)
    assert client.post(WHERE, filled, headers=HTMX).status_code == 200
    assert client.post(WHERE, filled, headers=HTMX).status_code == 422
    assert (Secret.objects.count(), Run.objects.exclude(kind=Run.Kind.CHECK).count()) == (1, 1)


def test_web_04_a_rotation_form_sent_again_is_one_rotation(dot):
    made, client = factories.secret(initial="a-first-value-1"), signed_in(dot)
    factories.settle(made)
    where = reverse("secret_rotate", args=["main", made.pk])
    form = {"reason": "routine", "token": "f" * 32}
    client.post(where, form)
    client.post(where, form)
    assert made.runs.count() == 1


def test_web_04_what_one_person_typed_serves_nobody_else(dot, filled):
    ann = factories.user("eve", "administrators")
    assert signed_in(dot).post(WHERE, filled | {"step": "2"}, headers=HTMX).status_code == 200
    other = signed_in(ann)
    assert other.post(WHERE, {"rotation": "on"}, headers=HTMX).status_code == 422
    assert "web/svc" not in other.get(WHERE).content.decode()
    assert signed_in(factories.user("nil")).post(WHERE, filled).status_code == 403
    assert not Secret.objects.exists()


def test_web_04_nothing_is_made_in_a_region_where_one_may_not(filled):
    world_region = factories.region("west")
    factories.instance(name="west-host", region=world_region)
    az_world._person("sue", PERSONS["sue"], az_world.World())
    client = signed_in(User.objects.get(username="sue"))
    foreign = filled | {"instance": "west-host"}
    assert client.post("/west/secrets/create/", foreign).status_code in {403, 422}
    assert client.post("/main/secrets/create/", foreign).status_code == 422
    assert client.post("/west/instances/register/", {"name": "x", "address": "10.0.0.9"}).status_code == 403
    assert not Secret.objects.exists()
    assert client.post("/main/secrets/create/", filled).status_code == 302


# ---------------------------------------------------------------- WEB-05

#: What no form asks for. Each of them would matter if a form took what it is sent.
EXTRA = {
    "is_superuser": "on", "is_staff": "on", "is_active": "", "must_change_password": "", "password": "x" * 20,
    "id": str(az_world.NOBODY), "pk": str(az_world.NOBODY), "account": "1", "created_by": "1",
    "state": "ended", "outcome": "succeeded", "credential_state": "in_sync", "owner": "dot", "actor": "dot",
    "principal": "dot", "generation": "99", "machine_id": "f" * 32, "arn": "acs:kms:west:1:secret/x",
    "deletion_planned_at": "2020-01-01", "purged_at": "2020-01-01", "revealed": "on", "labels": "current",
    "user_permissions": "1", "kind_of_policy": "system", "granted_by": "1", "next_at": "2020-01-01",
    "requested_by": "1", "control_at": "2020-01-01", "lease": "9", "sequence": "1", "mac": "00",
}  # fmt: skip


def deeds(world: az_world.World) -> dict[str, dict[str, Any]]:
    """Forms that are right, where an empty one has no effect."""
    host = world.objects["own"]["instance"]["pk"]
    plan = Schedule.objects.get(secret_id=world.objects["own"]["secret"]["pk"])
    statement = {"Effect": "Allow", "Action": "kms:ListSecrets", "Resource": "*"}
    text = json.dumps({"Version": "1", "Statement": [statement]})
    return {
        "secret_rotate": {"reason": "routine"},
        "secret_labels": {"labels": "blue"},
        "secret_create": {
            "type": "ecs", "name": "az/new", "instance": "own-host", "username": "new", "kind": "password",
            "value": "a-first-value-1", "length": "32", "sets": ["lower", "upper", "digits"], "excluded": "",
            "description": "", "tags": "", "rotation": "on", "period": "7", "unit": "days",
        },
        "secret_edit": {
            "revision": "1", "description": "new", "tags": "", "length": "32", "excluded": "",
            "sets": ["lower", "upper", "digits"],
        },
        "secret_schedule": {
            "rotation": "on", "period": "7", "unit": "days", "next_at": "", "revision": str(plan.revision)
        },
        "secret_delete": {"how": "plan", "days": "30", "reason": "gone"},
        "instance_edit": {
            "name": "renamed", "address": "10.9.9.9", "port": "22",
            "revision": Instance.objects.get(pk=host).revision,
        },
        "instance_register": {"name": "web-9", "os": "linux", "address": "10.0.0.9", "port": "22"},
        "credential_create": {
            "name": "fleet-9", "username": "keyturn", "login": "own", "sudo": "passwordless"
        },
        "user_edit": {"display_name": "Somebody"},
        "user_disable": {"reason": "left"},
        "group_create": {"name": "group-9"},
        "invite": {"username": "guest-9"},
        "policy_edit": {"description": "new", "document": text, "revision": "1"},
        "key_create": {"alias": "key-9", "description": ""},
    }  # fmt: skip


#: What is new each time: ids, digests, ciphertext, tokens, and times of this year and the next.
YEARS = f"(?:{timezone.now().year}|{timezone.now().year + 1})"
NEW = re.compile(
    r"[0-9a-f]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z0-9+/=_-]{40,}|\bi-[a-z0-9]+"
    rf"|{YEARS}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?|datetime\.datetime\({YEARS},[^)]*\)"
)


def left_behind(world: az_world.World, path: str, form: dict[str, Any]) -> tuple[int, dict[str, list[str]]]:
    """The status, and the rows there are then, without what is new each time."""
    with az_world.undone():
        answer = az_world.do(path, "POST", cookie=world.cookies["dot"], given=form)
        rows = {table: sorted(NEW.sub("NEW", row) for row in kept) for table, kept in contents().items()}
    return answer.status_code, rows


def test_web_05_what_no_form_asks_for_changes_nothing(world):
    """The same form with and without what it does not ask for leaves the same rows behind."""
    given, wrong = deeds(world), []
    names = [name for name in ROUTES if "POST" in methods(name)]
    for name in names:
        where, form = url(world, name), given.get(name, world.bodies.get(name, {}))
        plain, stuffed = (left_behind(world, where, sent) for sent in (form, EXTRA | form))
        if plain != stuffed:
            tables = {table for table in plain[1] if plain[1][table] != stuffed[1][table]}
            wrong.append(f"{name}: {plain[0]}, {stuffed[0]}, {sorted(tables)}")
    assert not wrong, "\n".join(wrong)
    assert set(given) <= set(names)
    statuses = {name: left_behind(world, url(world, name), form)[0] for name, form in given.items()}
    assert {name: status for name, status in statuses.items() if status not in {200, 302}} == {}
