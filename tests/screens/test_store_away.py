"""A store that takes no changes, for now: the answer says so, and never that somebody tried too often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from tests import factories
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)

SAID = ["database is locked", "database or disk is full", "attempt to write a readonly database"]


@contextmanager
def takes_no_changes(said: str) -> Iterator[None]:
    """Answer each statement that writes as the driver does where the store cannot."""

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "BEGIN")):
            raise OperationalError(said)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


@pytest.fixture
def browser() -> Client:
    return Client(raise_request_exception=False)


def says_why(answer: Any) -> None:
    page = answer.content.decode()
    assert answer.status_code == 503, page[:400]
    assert "atabase" in page
    assert "Too many" not in page


@pytest.mark.parametrize("said", SAID)
def test_a_sign_in_is_no_try_too_many_where_the_store_takes_no_changes(browser, dot, said):
    # Where an added entry is "there already", the limit on tries takes the next one for one too many.
    with takes_no_changes(said), pytest.raises(OperationalError):
        cache.add("tries", 1)
    words = {"login": "dot", "password": PASSWORD}
    for password in (PASSWORD, "wrong wrong wrong"):
        with takes_no_changes(said):
            says_why(browser.post(reverse("account_login"), words | {"password": password}))
    assert browser.post(reverse("account_login"), words).status_code == 302


@pytest.mark.parametrize("said", SAID)
def test_nothing_else_that_is_sent_becomes_something_untrue(browser, dot, said):
    secret = factories.secret(initial="an-old-value-1")
    factories.settle(secret)
    browser.force_login(dot)
    place, instance = ["main", secret.pk], ["main", secret.managed.instance.pk]
    for name, args, typed in (
        ("secret_rotate", place, {"reason": "routine"}),
        ("secret_reveal", place, {"reason": "x"}),
        ("instance_scan", instance, {}),
        ("instance_check", instance, {}),
    ):
        with takes_no_changes(said):
            answer = browser.post(reverse(name, args=args), typed)
        assert answer.status_code == 503, (name, answer.status_code)
        assert "Too many" not in answer.content.decode()
    assert not secret.runs.exists()
