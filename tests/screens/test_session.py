"""How a session ends, what keeps it alive, and how a page goes on after it."""

from __future__ import annotations

import json
import re

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from console.sessions import expiry
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
LIVE = HTMX | {expiry.LIVE_HEADER: "1"}
PAGE = "/change-password/"
START = "2026-03-01T08:00:00Z"


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def inside(client, clock, dot):
    """Return dot's client, signed in at this moment."""
    client.force_login(dot)
    return client


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("session"), headers=LIVE).status_code == 204


def after(clock, minutes: float) -> None:
    clock.shift(minutes * 60)


def sign_in_over_the_page(client, login="dot", password=PASSWORD):
    return client.post(reverse("account_login"), {"login": login, "password": password}, headers=HTMX)


# ---------------------------------------------------------------- the two ends


def test_ses_01_a_session_in_which_nobody_does_anything_ends_after_fifteen_minutes(inside, clock):
    after(clock, 14.9)
    assert is_signed_in(inside)
    after(clock, 0.1)
    assert inside.get(PAGE)["Location"].startswith(reverse("account_login"))
    assert not is_signed_in(inside)


def test_the_idle_limit_is_the_installations_own(inside, clock, settings):
    settings.SESSION_IDLE = expiry.timedelta(minutes=2)
    after(clock, 2)
    assert not is_signed_in(inside)


def test_an_action_keeps_it_alive(inside, clock):
    for _ in range(3):
        after(clock, 14)
        assert inside.get(PAGE).status_code == 200
    assert is_signed_in(inside)


def test_ses_01_what_a_page_asks_for_by_itself_keeps_nothing_alive(inside, clock):
    for _ in range(14):
        after(clock, 1)
        assert inside.get(PAGE, headers=LIVE).status_code == 200
    after(clock, 1)
    answer = inside.get(PAGE, headers=LIVE)
    assert answer.status_code == 401
    assert "signedOut" in answer["HX-Trigger"]


def test_ses_02_after_twelve_hours_it_ends_whatever_is_done(inside, clock):
    for _ in range(12 * 6 - 1):
        after(clock, 10)
        assert inside.get(PAGE).status_code == 200
    after(clock, 10)
    assert inside.get(PAGE).status_code == 302


def test_an_ended_session_is_gone_from_the_store(inside, clock):
    store, key = type(inside.session), inside.session.session_key
    after(clock, 15)
    inside.get(PAGE)
    assert not store().exists(key)


def test_only_one_action_a_minute_is_written(inside, clock):
    after(clock, 0.5)
    inside.get(PAGE)
    first = inside.session[expiry.SEEN_AT]
    after(clock, 0.6)
    inside.get(PAGE)
    assert inside.session[expiry.SEEN_AT] == pytest.approx(first + 66)


def test_a_session_from_before_the_limits_begins_now(inside, clock):
    old = inside.session
    del old[expiry.BEGAN_AT], old[expiry.SEEN_AT]
    old.save()
    assert inside.get(PAGE).status_code == 200
    after(clock, 15)
    assert not is_signed_in(inside)


# ---------------------------------------------------------------- staying


def test_the_page_and_every_part_of_it_say_how_long_is_left(inside, clock):
    page = inside.get(reverse("account_logout")).content.decode()
    assert 'data-seconds="900"' in page
    assert 'data-user="dot"' in page
    after(clock, 5)
    assert inside.get(reverse("session"), headers=LIVE)[expiry.LEFT_HEADER] == "600"


def test_stay_signed_in_extends_it(inside, clock):
    after(clock, 14.5)
    answer = inside.post(reverse("session_stay"), headers=HTMX)
    assert answer[expiry.LEFT_HEADER] == "900"
    assert "HX-Trigger" not in answer
    after(clock, 14.5)
    assert is_signed_in(inside)


def test_stay_signed_in_says_that_twelve_hours_are_over(inside, clock):
    kept = inside.session
    kept[expiry.BEGAN_AT] -= 12 * 3600 - 50
    kept.save()
    answer = inside.post(reverse("session_stay"), headers=HTMX)
    assert int(answer[expiry.LEFT_HEADER]) <= 50
    assert "twelve hours" in json.loads(answer["HX-Trigger"])["toast"]["text"]


def test_a_link_extends_nothing_and_a_stranger_learns_nothing(inside, client):
    assert inside.get(reverse("session_stay")).status_code == 405
    for name in ("session", "session_stay"):
        assert Client().post(reverse(name)).status_code in {302, 405}


# ---------------------------------------------------------------- signing in over the page


def test_after_the_end_sign_in_comes_as_a_dialog(client, dot):
    answer = client.get(reverse("account_login"), headers=HTMX)
    page = answer.content.decode()
    assert "<html" not in page
    assert 'id="sign-in-title"' in page
    assert 'id="sign-in-password"' in page


def test_a_wrong_password_comes_back_in_the_dialog(client, dot):
    answer = sign_in_over_the_page(client, password="wrong wrong wrong")
    assert answer.status_code == 422
    assert "The user name or the password is wrong." in answer.content.decode()
    assert "<html" not in answer.content.decode()


def test_the_dialog_is_throttled_like_the_page(client, dot):
    for _ in range(5):
        sign_in_over_the_page(client, password="wrong wrong wrong")
    answer = sign_in_over_the_page(client)
    assert answer.status_code == 422
    assert "Too many" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_too_many_requests_from_one_address_are_told_in_the_dialog(client, dot, settings):
    settings.ACCOUNT_RATE_LIMITS = {"login": "1/m/ip"}
    sign_in_over_the_page(client, password="wrong wrong wrong")
    answer = sign_in_over_the_page(client)
    assert answer.status_code == 422
    assert "Too many attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_ses_03_the_session_and_the_token_are_new_after_it_and_the_answer_says_who(dot):
    client = Client(enforce_csrf_checks=True)
    page = client.get(reverse("account_login"), headers=HTMX).content.decode()
    cookie, token = client.cookies["keyturn_csrf"].value, token_in(page)
    planted = client.session
    planted["planted"] = True
    planted.save()
    client.cookies["sessionid"] = planted.session_key
    words = {"login": "dot", "password": PASSWORD, "csrfmiddlewaretoken": token}
    answer = client.post(reverse("account_login"), words, headers=HTMX | {"Referer": "http://testserver/"})
    assert json.loads(answer["HX-Trigger-After-Swap"]) == {"signedIn": {"user": "dot"}}
    assert client.session.session_key != planted.session_key
    assert client.cookies["keyturn_csrf"].value != cookie
    stale = client.post(reverse("session_stay"), {"csrfmiddlewaretoken": token}, headers=HTMX)
    assert stale.status_code == 401
    assert "signedOut" in stale["HX-Trigger"]
    fresh = {"csrfmiddlewaretoken": token_in(answer.content.decode())}
    assert client.post(reverse("session_stay"), fresh, headers=HTMX).status_code == 204


def test_whoever_signed_in_in_another_tab_needs_no_second_time(inside):
    answer = inside.get(reverse("account_login"), headers=HTMX)
    assert json.loads(answer["HX-Trigger-After-Swap"]) == {"signedIn": {"user": "dot"}}


def test_a_disabled_person_leaves_the_page(client, dot):
    type(dot).objects.filter(pk=dot.pk).update(is_active=False)
    assert sign_in_over_the_page(client)["HX-Redirect"] == reverse("account_inactive")


def test_a_plain_form_after_the_end_leads_to_sign_in_and_back(inside, clock):
    after(clock, 15)
    assert inside.post(PAGE)["Location"] == f"{reverse('account_login')}?next={PAGE}"


def token_in(page: str) -> str:
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
