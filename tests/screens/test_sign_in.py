"""Signing in, choosing a password, signing out."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent
from secrets_app.people import users
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "a phrase that only she knows"


def sign_in(client, login="dot", password=PASSWORD, **extra):
    return client.post(reverse("account_login"), {"login": login, "password": password}, **extra)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def change_password(client, old=PASSWORD, new=NEW_PASSWORD):
    words = {"oldpassword": old, "password1": new, "password2": new}
    return client.post(reverse("account_change_password"), words)


@pytest.fixture
def nia(open_keyring):
    """Return an administrator who still has the password that was printed."""
    return users.create("nia", Plaintext(PASSWORD), groups=["administrators"], must_change_password=True)


# ---------------------------------------------------------------- who gets in


def test_a_wrong_password_is_refused_in_words_and_the_name_is_kept(client, dot):
    answer = sign_in(client, password="wrong wrong wrong")
    assert not is_signed_in(client)
    page = answer.content.decode()
    assert "The user name or the password is wrong." in page
    assert 'value="dot"' in page
    assert "wrong wrong wrong" not in page


def test_an_unknown_name_is_answered_like_a_wrong_password(client, dot):
    wrong = sign_in(client, password="wrong wrong wrong").content.decode()
    unknown = sign_in(client, login="nobody", password="wrong wrong wrong").content.decode()
    for page in (wrong, unknown):
        assert "The user name or the password is wrong." in page


def test_the_right_password_opens_the_console(client, dot):
    answer = sign_in(client)
    assert answer.status_code == 302
    assert answer["Location"] == reverse("home")
    assert is_signed_in(client)


@pytest.mark.parametrize("login", ["DOT", " dot ", "Dot"])
def test_case_and_spaces_in_the_name_do_not_matter(client, dot, login):
    sign_in(client, login=login)
    assert is_signed_in(client)


def test_a_disabled_person_is_refused_and_told_so(client, dot):
    type(dot).objects.filter(pk=dot.pk).update(is_active=False)
    answer = sign_in(client)
    assert not is_signed_in(client)
    assert answer["Location"] == reverse("account_inactive")


def test_ses_03_the_session_gets_a_new_name_at_sign_in(client, dot):
    planted = client.session
    planted["planted"] = True
    planted.save()
    before = planted.session_key
    sign_in(client)
    assert is_signed_in(client)
    assert client.session.session_key != before


def test_sign_in_leads_to_no_other_host(client, dot):
    words = {"login": "dot", "password": PASSWORD, "next": "https://example.org/"}
    assert client.post(reverse("account_login"), words)["Location"] == reverse("home")


# ---------------------------------------------------------------- guessing


def test_auth_01_after_five_failures_even_the_right_password_is_refused(client, dot):
    for _ in range(5):
        sign_in(client, password="wrong wrong wrong")
    answer = sign_in(client)
    assert not is_signed_in(client)
    assert "Too many failed attempts." in answer.content.decode()


def test_auth_03_another_spelling_of_the_name_does_not_lift_the_limit(client, dot):
    for login in ["dot", "DOT", "Dot ", " dOt", "\tdoT\u3000"]:
        sign_in(client, login=login, password="wrong wrong wrong")
    sign_in(client)
    assert not is_signed_in(client)


def test_auth_01_another_host_name_of_ours_does_not_lift_the_limit(client, dot):
    for _ in range(5):
        sign_in(client, password="wrong wrong wrong", headers={"Host": "localhost"})
    sign_in(client, headers={"Host": "127.0.0.1"})
    assert not is_signed_in(client)


def test_auth_04_a_made_up_forwarded_address_does_not_lift_the_limit(client, dot):
    for number in range(10):
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        sign_in(client, login=f"guess{number}", password="wrong wrong wrong", headers=headers)
    sign_in(client, headers={"X-Forwarded-For": "203.0.113.1"})
    assert not is_signed_in(client)


def test_auth_01_a_locked_name_costs_no_hashing(client, dot, hashed):
    for _ in range(5):
        sign_in(client, password="wrong wrong wrong")
    assert len(hashed) == 5
    sign_in(client)
    assert len(hashed) == 5


def test_auth_01_a_name_that_does_not_exist_is_locked_like_one_that_does(client, dot):
    pages = []
    for login in ("dot", "nobody"):
        for _ in range(6):
            answer = sign_in(Client(REMOTE_ADDR=f"198.51.100.{len(login)}"), login, "wrong wrong wrong")
        pages.append("Too many failed attempts." in answer.content.decode())
    assert pages == [True, True]


def test_auth_02_ten_failures_from_one_address_lock_it_whatever_the_names_and_no_other(dot, hashed):
    here = Client(REMOTE_ADDR="198.51.100.7")
    for number in range(10):
        sign_in(here, f"guess{number}", "wrong wrong wrong")
    sign_in(here)
    assert not is_signed_in(here)
    assert len(hashed) == 10
    there = Client(REMOTE_ADDR="198.51.100.8")
    sign_in(there)
    assert is_signed_in(there)


def test_auth_02_all_addresses_together_have_a_limit(dot, hashed, settings):
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"passwords_of_all": "3/m/key"}
    for number in range(3):
        sign_in(Client(REMOTE_ADDR=f"198.51.100.{number}"), f"guess{number}", "wrong wrong wrong")
    last = Client(REMOTE_ADDR="198.51.100.9")
    answer = sign_in(last)
    assert "Too many failed attempts." in answer.content.decode()
    assert not is_signed_in(last)
    assert len(hashed) == 3


def test_auth_04_behind_a_proxy_the_address_is_the_one_that_the_proxy_added(dot, settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    client = Client()
    for number in range(10):
        headers = {"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.1"}
        sign_in(client, f"guess{number}", "wrong wrong wrong", headers=headers)
    sign_in(client, headers={"X-Forwarded-For": "203.0.113.99, 198.51.100.1"})
    assert not is_signed_in(client)
    sign_in(client, headers={"X-Forwarded-For": "203.0.113.99, 198.51.100.2"})
    assert is_signed_in(client)


def test_auth_06_an_unknown_name_costs_as_much_work_as_a_wrong_password(client, dot, hal, hashed):
    type(hal).objects.filter(pk=hal.pk).update(is_active=False)
    costs = []
    for login in ("dot", "nobody", "hal"):
        hashed.clear()
        sign_in(client, login, "wrong wrong wrong")
        costs.append(len(hashed))
    assert costs == [1, 1, 1]


# ---------------------------------------------------------------- the first password


@pytest.mark.parametrize("path", ["/", "/all/secrets/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_whoever_has_the_printed_password_is_sent_to_choose_one(client, nia, path, method):
    client.force_login(nia)
    assert getattr(client, method)(path)["Location"] == reverse("account_change_password")


def test_a_part_of_a_page_sends_the_whole_page_there(client, nia):
    client.force_login(nia)
    answer = client.get(reverse("home"), headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == reverse("account_change_password")


def test_signing_out_is_possible_without_choosing_one(client, nia):
    client.force_login(nia)
    client.post(reverse("account_logout"))
    assert not is_signed_in(client)


def test_a_chosen_password_opens_the_console_and_the_printed_one_stops_working(client, nia):
    sign_in(client, "nia")
    change_password(client)
    nia.refresh_from_db()
    assert not nia.must_change_password
    assert is_signed_in(client)
    other = Client()
    sign_in(other, "nia")
    assert not is_signed_in(other)
    sign_in(other, "nia", NEW_PASSWORD)
    assert is_signed_in(other)


def test_after_the_first_password_an_administrator_is_led_to_a_second_factor(client, nia):
    sign_in(client, "nia")
    assert change_password(client)["Location"] == reverse("mfa_index")
    assert change_password(client, NEW_PASSWORD, f"{NEW_PASSWORD} 2")["Location"] == reverse("home")


def test_after_the_first_password_others_are_led_to_the_console(client):
    users.create("hal", Plaintext(PASSWORD), groups=["helpdesk"], must_change_password=True)
    sign_in(client, "hal")
    assert change_password(client)["Location"] == reverse("home")


def test_a_refused_change_changes_nothing(client, nia):
    sign_in(client, "nia")
    answer = change_password(client, old="not the current one")
    assert "This is not your current password." in answer.content.decode()
    nia.refresh_from_db()
    assert nia.must_change_password
    assert nia.check_password(PASSWORD)


def test_a_change_of_password_ends_every_other_session(client, dot):
    other = Client()
    sign_in(other)
    sign_in(client)
    change_password(client)
    assert other.get(reverse("account_change_password")).status_code == 302
    assert client.get(reverse("account_change_password")).status_code == 200


def test_a_change_of_password_is_recorded_with_where_it_came_from(client, dot):
    sign_in(client)
    answer = change_password(client)
    event = AuditEvent.objects.get(action="kms:ChangePassword")
    assert event.actor == dot.principal
    assert event.address == "127.0.0.1"
    assert event.request_id == answer["X-Request-ID"]
    assert event.session
    assert NEW_PASSWORD not in f"{event.details} {event.reason}"


# ---------------------------------------------------------------- the way out, and the ways that do not exist


def test_sign_out_clears_what_the_browser_kept(client, dot):
    sign_in(client)
    answer = client.post(reverse("account_logout"))
    assert answer["Clear-Site-Data"] == '"cache", "storage"'
    assert "Clear-Site-Data" not in client.get(reverse("account_login"))


def test_a_link_cannot_sign_anybody_out(client, dot):
    client.force_login(dot)
    client.get(reverse("account_logout"))
    assert is_signed_in(client)


@pytest.mark.parametrize(
    "name", ["account_signup", "account_reset_password", "account_email", "account_set_password"]
)
def test_nobody_signs_up_or_resets_a_password_by_mail(name):
    with pytest.raises(NoReverseMatch):
        reverse(name)


def test_plain_http_elsewhere_is_named_before_it_fails(client, open_keyring):
    page = client.get(reverse("account_login"), headers={"Host": "keys.example.org"}).content.decode()
    assert "plain http" in page
    page = client.get(reverse("account_login"), headers={"Host": "localhost:8000"}).content.decode()
    assert "plain http" not in page


@pytest.mark.parametrize(
    ("host", "words"), [("localhost", "The form is no longer valid"), ("keys.example.org", "keeps no cookie")]
)
def test_a_form_without_its_token_changes_nothing_and_says_why(dot, host, words):
    client = Client(enforce_csrf_checks=True)
    answer = sign_in(client, headers={"Host": host})
    assert answer.status_code == 403
    assert words in answer.content.decode()
    assert not is_signed_in(client)
