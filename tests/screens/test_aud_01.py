"""AUD-01: every route that changes something or hands out a value leaves its events, and no other does.

The tables in `tests.screens.routes` are held to the URL tree: a route that stands in none fails. Each row is
tried in a savepoint of its own, so that all share one cast; all that fail are named together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import get_resolver, reverse

from secrets_app.models import AuditEvent, User
from secrets_app.people import users
from tests import factories
from tests.screens.routes import CHANGES, READS, SIGN_IN
from tests.screens.routes.calls import NEW_VALUE, VALUE, Call, Cast

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
#: What a look or a refusal may write: the trail, and that somebody was there.
TRACES = {
    "secrets_app_auditevent", "secrets_app_audithead", "secrets_app_refusals", "django_session",
    "usersessions_usersession", "console_cacheentry",
}  # fmt: skip


#: Looks that belong to something an auditor may not do.
PARTS_OF_DEEDS = {
    "settings_notifications",
    "notification",
    "secret_create_dates",
    "secret_create_key_pair",
    "secret_create_checked",
    "secret_schedule_dates",
    "simulator",
}
OWN = {"bulk_action", "bulk_progress"}  # of the administrator; to an auditor they are not there  # fmt: skip


@pytest.fixture(autouse=True)
def _no_checkpoints_of_other_tests(settings, tmp_path) -> None:
    """The trail of an earlier test in this process is not this one's."""
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"


@pytest.fixture
def cast(dot, aud, provider, mail_server) -> Cast:
    users.readdress(dot, "dot@example.com", actor=dot.principal)
    return Cast(dot, aud, factories.user("eve"))


def fresh(cast: Cast) -> Cast:
    """The same people as the database knows them: what a row did to them is undone."""
    return Cast(*(User.objects.get(pk=one.pk) for one in (cast.dot, cast.aud, cast.eve)))


def browser(user: Any = None) -> Client:
    """A browser, in which this person is signed in; a passkey works at no other address."""
    client = Client(headers={"Host": "localhost"})
    if user:
        client.force_login(user)
        client.get(reverse("session"))
    return client


def again(client: Client) -> Client:
    """The same browser once more: what a row does to it does not stay."""
    other = browser()
    other.cookies.load({name: morsel.value for name, morsel in client.cookies.items()})
    return other


@contextmanager
def undone() -> Iterator[None]:
    # Not `atomic`: a value is shown only where no transaction is around it.
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


def each(table: dict[str, Any], check: Callable[[str, Any], None]) -> None:
    """Check every row; fail with all that are wrong."""
    wrong = []
    for name, row in table.items():
        with undone():
            try:
                check(name, row)
            except Exception as error:  # noqa: BLE001  # the row is named, and the next one is tried
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:600]}")
    assert not wrong, "\n".join(wrong)


@contextmanager
def written() -> Iterator[set[str]]:
    """The tables that are written meanwhile."""
    found: set[str] = set()

    def look(execute, text, params, many, context):
        if text.startswith(("INSERT", "UPDATE", "DELETE", "REPLACE")):
            found.add(text.split('"')[1])
        return execute(text, params, many, context)

    with connection.execute_wrapper(look):
        yield found


def top() -> int:
    return AuditEvent.objects.values_list("sequence", flat=True).first() or 0


def since(sequence: int) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(sequence__gt=sequence).order_by("sequence"))


def content(answer: HttpResponseBase) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore


def send(client: Client, name: str, call: Call) -> tuple[HttpResponseBase, bytes, list[AuditEvent]]:
    """Send it; return the answer and what it left in the trail."""
    given = (call.before(client) if call.before else None) or call.given
    before = top()
    answer = getattr(client, call.method)(call.url(name), given)
    body = content(answer)
    return answer, body, since(before)


def test_aud_01_every_route_stands_in_one_of_the_tables():
    routes = [pattern.name for pattern in get_resolver().url_patterns]
    assert sorted(routes) == sorted([*CHANGES, *READS, *SIGN_IN])


def told(events: list[AuditEvent]) -> list[tuple[str, str]]:
    return [(event.action, event.outcome) for event in events]


def test_aud_01_a_deed_leaves_its_events_and_no_other_and_its_form_none(cast):
    home = browser(cast.dot)

    def check(name, make):
        call = make(fresh(cast))
        if call.method == "post":
            before = top()
            for method in ("get", "head"):
                getattr(again(home), method)(call.url(name), headers=HTMX)
            assert told(since(before)) == []
        answer, body, events = send(again(home), name, call)
        assert answer.status_code in {200, 202, 302}, (answer.status_code, body[-2000:])
        assert sorted(told(events)) == sorted((action, "succeeded") for action in call.actions)
        for event in events:
            assert (event.actor, event.request_id) == (cast.dot.principal, answer["X-Request-ID"])
            assert not any(value in str(vars(event)) for value in (VALUE, NEW_VALUE, factories.PASSWORD))

    each(CHANGES, check)


def test_aud_01_and_12_an_auditor_is_refused_each_deed_with_one_event_that_says_so(cast):
    desk = browser(cast.aud)

    def check(name, make):
        call = make(fresh(cast))
        if call.before and call.auditor != 403:
            return  # what one does to oneself
        with written() as tables:
            answer, body, events = send(again(desk), name, call)
        assert answer.status_code == call.auditor
        assert VALUE not in body.decode(errors="replace")
        if call.auditor != 403:
            assert all(event.outcome == "succeeded" for event in events)
            return
        ((action, outcome),) = told(events)
        assert (action, outcome) == (call.refused or call.actions[0], "denied")
        assert (events[0].actor, bool(events[0].decision)) == (cast.aud.principal, True)
        assert tables <= TRACES

    each(CHANGES, check)


def test_aud_01_and_12_looking_leaves_no_event_and_an_auditor_sees_all_of_it_and_no_value(cast):
    people = {"dot": browser(cast.dot), "aud": browser(cast.aud)}

    def check(name, make):
        url = reverse(name, args=make(fresh(cast)))
        for who, client in people.items():
            for method in ("get", "head", "post"):
                before = top()
                with written() as tables:
                    answer = getattr(again(client), method)(url, headers=HTMX)
                if who == "aud" and name in PARTS_OF_DEEDS:
                    assert answer.status_code in {403, 405}, method
                elif who == "aud" and name in OWN:
                    assert answer.status_code in {404, 405}, method
                else:
                    assert answer.status_code in {200, 204, 302, 405, 503}, (who, method)
                    assert told(since(before)) == [], (who, method)
                assert tables <= TRACES, (who, method)
                assert VALUE not in content(answer).decode(errors="replace")

    each(READS, check)


def test_aud_01_coming_leaves_its_events_and_no_other(cast):
    def check(name, make):
        call = make(fresh(cast))
        answer, body, events = send(browser(), name, call)
        assert answer.status_code == call.answer, (answer.status_code, body[-2000:])
        assert sorted(told(events)) == sorted((action, "succeeded") for action in call.actions)
        assert {event.request_id for event in events} <= {answer["X-Request-ID"]}

    each(SIGN_IN, check)
