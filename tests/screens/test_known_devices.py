"""Nobody locks a person out of a browser they use, no network locks everybody out, and the person is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from console import http
from console.sign_in import known_devices
from secrets_app.audit import refusals
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Refusals
from secrets_app.people import users
from tests import times
from tests.factories import PASSWORD
from tests.screens.routes.own import add_app, code_of

pytestmark = pytest.mark.django_db

WRONG = "wrong wrong wrong"
NEW_PASSWORD = "a phrase that only she knows"


def sign_in(client: Client, login: str = "dot", password: str = PASSWORD):
    return client.post(reverse("account_login"), {"login": login, "password": password})


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def at(address: str) -> Client:
    return Client(REMOTE_ADDR=address)


def device_of(login: str = "dot", address: str = "198.51.100.1") -> Client:
    """A browser in which this person has signed in, and out."""
    client = at(address)
    sign_in(client, login)
    assert is_signed_in(client)
    client.post(reverse("account_logout"))
    assert not is_signed_in(client)
    times.tick()
    return client


def guess(login: str = "dot", address: str = "203.0.113.9", times: int = 5) -> None:
    for _ in range(times):
        sign_in(at(address), login, WRONG)


def record_what_was_counted() -> None:
    Refusals.objects.update(since=F("since") - timedelta(minutes=2))
    assert refusals.record_counted()


def told(client: Client) -> str:
    return client.get(reverse("sessions")).content.decode()


# ---------------------------------------------------------------- the way of one's own


def test_a_stranger_who_locks_a_name_locks_no_browser_that_the_person_uses(dot):
    known, new = device_of(), at("198.51.100.1")
    guess()
    sign_in(new)
    assert not is_signed_in(new)
    sign_in(known)
    assert is_signed_in(known)


@pytest.mark.parametrize("login", [" DOT ", "Dot"])
def test_the_browser_knows_the_person_however_the_name_is_spelled(dot, login):
    known = device_of()
    guess()
    sign_in(known, login)
    assert is_signed_in(known)


def test_neither_the_neighbours_nor_everybody_together_use_up_that_way(dot, settings):
    known = device_of(address="198.51.100.1")
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"passwords_of_all": "1/m/key"}
    for number in range(35):
        sign_in(at("198.51.100.1"), f"guess{number}", WRONG)
    new = at("192.0.2.1")
    sign_in(new)
    assert not is_signed_in(new)
    sign_in(known)
    assert is_signed_in(known)


def test_a_known_browser_has_five_tries_of_its_own_and_no_more(dot, hashed):
    known = device_of()
    hashed.clear()
    for _ in range(5):
        sign_in(known, password=WRONG)
    assert len(hashed) == 5
    sign_in(known)
    assert len(hashed) == 5
    assert not is_signed_in(known)
    other = at("192.0.2.1")
    sign_in(other)
    assert is_signed_in(other)


def test_a_browser_of_one_person_is_no_way_to_another(dot, hal):
    known = device_of("hal")
    guess("dot")
    sign_in(known, "dot")
    assert not is_signed_in(known)


def test_a_browser_is_known_to_each_who_used_it(dot, hal):
    known = device_of("hal")
    sign_in(known, "dot")
    known.post(reverse("account_logout"))
    guess("dot", "203.0.113.9")
    guess("hal", "203.0.113.8")
    sign_in(known, "hal")
    assert is_signed_in(known)
    known.post(reverse("account_logout"))
    sign_in(known, "dot")
    assert is_signed_in(known)


def test_only_so_many_persons_are_kept_and_one_is_kept_once(dot, hal):
    known = device_of("hal")
    for _ in range(4):
        sign_in(known, "dot")
        known.post(reverse("account_logout"))
    assert len(known.cookies[known_devices.COOKIE].value.split(".")) == 2


@pytest.mark.parametrize("planted", ["", "x", "0" * 32 + "-20000-" + "0" * 64, "ü.\ud800"])
def test_a_cookie_that_we_did_not_make_is_no_way(dot, planted):
    client = at("198.51.100.1")
    client.cookies[known_devices.COOKIE] = planted.encode("utf-8", "replace").decode("latin-1")
    guess()
    sign_in(client)
    assert not is_signed_in(client)


def test_a_change_of_the_password_ends_it(dot):
    known, stolen = device_of(), Client(REMOTE_ADDR="203.0.113.9")
    stolen.cookies[known_devices.COOKIE] = known.cookies[known_devices.COOKIE].value
    sign_in(known)
    words = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    known.post(reverse("account_change_password"), words)
    guess()
    sign_in(stolen, password=NEW_PASSWORD)
    assert not is_signed_in(stolen)


def test_after_ninety_days_it_is_forgotten(dot):
    known = device_of()
    cookie = known.cookies[known_devices.COOKIE]
    assert cookie["max-age"] == known_devices.KEPT_DAYS * 24 * 3600
    with time_machine.travel(timezone.now() + timedelta(days=known_devices.KEPT_DAYS + 1)):
        guess()
        sign_in(known)
        assert not is_signed_in(known)


def test_the_cookie_is_for_the_browser_alone_and_names_nobody(dot):
    cookie = device_of().cookies[known_devices.COOKIE]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Strict"
    assert "dot" not in cookie.value
    assert dot.pk.hex not in cookie.value.replace("-", "")


def test_a_refused_sign_in_makes_no_browser_known(dot):
    client = at("198.51.100.1")
    sign_in(client, password=WRONG)
    assert known_devices.COOKIE not in client.cookies


def test_between_password_and_code_no_browser_is_known(dot):
    add_app(dot)
    client = at("198.51.100.1")
    assert sign_in(client)["Location"] == reverse("mfa_authenticate")
    assert known_devices.COOKIE not in client.cookies


def test_whoever_is_signed_in_can_confirm_while_the_name_is_locked(dot):
    inside = at("198.51.100.1")
    sign_in(inside)
    del inside.cookies[known_devices.COOKIE]
    guess()
    answer = inside.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert answer.status_code == 302
    for _ in range(5):
        inside.post(reverse("account_reauthenticate"), {"password": WRONG})
    answer = inside.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert answer.status_code != 302


def test_neighbours_who_guess_keep_nobody_from_giving_a_second_factor(dot):
    known = device_of(address="198.51.100.1")
    add_app(dot)
    neighbour = users.create("eve", Plaintext(PASSWORD), must_change_password=False)
    add_app(neighbour)
    for _ in range(2):
        other = at("198.51.100.1")
        sign_in(other, "eve")
        for _ in range(5):
            other.post(reverse("mfa_authenticate"), {"code": "000000"})
    sign_in(known)
    known.post(reverse("mfa_authenticate"), {"code": code_of()})
    assert is_signed_in(known)


def test_a_second_factor_of_ones_own_gives_no_new_guesses_at_others(dot, hashed):
    eve = users.create("eve", Plaintext(PASSWORD), must_change_password=False)
    add_app(eve)
    # All within a minute, however slow the machine is, and no two in the same moment.
    with time_machine.travel(timezone.now(), tick=False) as clock:

        def guesses(count: int, names: str) -> None:
            for number in range(count):
                clock.shift(1)
                sign_in(at("203.0.113.9"), f"{names}{number}", WRONG)

        guesses(9, "guess")
        other = at("203.0.113.9")
        clock.shift(1)
        sign_in(other, "eve")
        other.post(reverse("mfa_authenticate"), {"code": code_of()})
        assert is_signed_in(other)
        hashed.clear()
        guesses(5, "again")
    assert len(hashed) == 1


# ---------------------------------------------------------------- everybody together


def test_one_network_cannot_use_up_the_passwords_of_everybody(dot, hal, settings):
    limits = {"passwords_of_one": "3/m/key", "passwords_of_all": "4/m/key"}
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | limits
    for number in range(
        8
    ):  # right ones too: whoever has an account of their own can send as many as they like
        sign_in(at(f"203.0.113.{number}"), "hal")
    elsewhere = at("198.51.100.1")
    sign_in(elsewhere)
    assert is_signed_in(elsewhere)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("no address", "no address"),
    ],
)
def test_a_network_is_what_one_customer_can_have(address, expected):
    assert http.network(address) == expected


# ---------------------------------------------------------------- the person is told


def test_at_the_next_sign_in_it_is_said_how_often_and_from_where(dot):
    known = device_of()
    guess(times=3)
    times.tick()
    sign_in(known)
    page = told(known)
    assert "3 failed sign-ins as you from 203.0.113.9 since your last one." in page
    known.post(reverse("account_logout"))
    sign_in(known)
    assert "since your last one" not in told(known)


def test_what_was_not_tried_any_more_is_told_too(dot):
    known = device_of()
    guess(times=7)
    sign_in(known)
    assert "7 failed sign-ins as you" in told(known)


def test_what_was_counted_is_told_once_though_it_is_recorded_later(dot):
    known = device_of()
    guess(times=3)
    times.tick()
    sign_in(known)
    told(known)
    known.post(reverse("account_logout"))
    record_what_was_counted()
    sign_in(known)
    assert "since your last one" not in told(known)


def test_somebody_who_had_the_password_is_told_apart(dot):
    known = device_of()
    add_app(dot)
    thief = at("203.0.113.9")
    sign_in(thief)
    thief.post(reverse("mfa_authenticate"), {"code": "000000"})
    sign_in(known)
    known.post(reverse("mfa_authenticate"), {"code": code_of()})
    assert "In 1 of them the password was right" in told(known)


def test_ones_sessions_list_what_failed_and_nobody_elses(dot, hal, client):
    guess("dot", times=2)
    guess("hal", "192.0.2.77", times=1)
    client.force_login(dot)
    page = told(client)
    assert "203.0.113.9" in page
    assert "192.0.2.77" not in page
    other = client.get(reverse("user_sessions", args=[hal.pk])).content.decode()
    assert "Failed sign-ins" not in other


def test_a_password_that_is_not_looked_at_any_more_is_in_the_trail(dot):
    guess(times=6)
    denied = AuditEvent.objects.filter(action="kms:SignIn", outcome="denied", resource_id=dot.pk)
    record_what_was_counted()
    assert sum(int(one.details.get("more", 1)) for one in denied) == 6
