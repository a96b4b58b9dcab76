"""Second factors: set up, used once, recorded, taken away; and confirming who it is."""

from __future__ import annotations

import json
import re

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.db import connection
from django.test import Client
from django.urls import reverse

from console.sessions import fresh
from secrets_app import origin
from secrets_app.crypto import envelope
from secrets_app.models import AuditEvent, SealedValue
from secrets_app.people import second_factors
from tests import factories
from tests.factories import PASSWORD
from tests.screens.routes import own

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
START = "2026-03-01T08:00:00Z"
SIGN_IN, CODE = "account_login", "mfa_authenticate"


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def words(username="dot"):
    return {"login": username, "password": PASSWORD}


def sign_in(client, username="dot", **extra):
    return client.post(reverse(SIGN_IN), words(username), **extra)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def key_on(page: str) -> str:
    return re.search(r'data-copy="([A-Z2-7]{32})"', page)[1]


def code_of(key: str, later: int = 0) -> str:
    counters = list(totp.yield_hotp_counters_from_time())
    return totp.format_hotp_value(totp.hotp_value(key, counters[1] + later))


def set_up(client) -> str:
    """Set up an app for whoever is signed in; return its key."""
    key = key_on(client.get(reverse("mfa_activate_totp")).content.decode())
    answer = client.post(reverse("mfa_activate_totp"), {"code": code_of(key)})
    assert len(codes_on(answer.content.decode())) == 10
    return key


def test_a_name_that_no_form_takes_gets_its_picture_too(client, clock):
    client.force_login(factories.user("a" * 4_000, "administrators"))
    assert set_up(client)


def codes_on(page: str) -> list[str]:
    return re.findall(r"\b\d{12}\b", page)


@pytest.fixture
def app(dot, clock):
    """Return the key of dot's app, set up a minute ago."""
    client = Client()
    sign_in(client)
    key = set_up(client)
    clock.shift(60)
    return key


def give_code(client, code, **extra):
    return client.post(reverse(CODE), {"code": code}, **extra)


def is_mfa(client) -> bool:
    """What a policy learns of acs:MFAPresent in this session."""
    seen = []
    real = origin.bind

    def looking(**facts):
        seen.append(facts["is_mfa"])
        return real(**facts)

    origin.bind = looking
    try:
        client.get(reverse("session"))
    finally:
        origin.bind = real
    return seen[-1]


# ---------------------------------------------------------------- set up and kept


def test_the_secret_of_an_app_stands_nowhere_in_the_open(client, dot, clock):
    sign_in(client)
    key = key_on(client.get(reverse("mfa_activate_totp")).content.decode())
    assert key not in str(dict(client.session))
    client.post(reverse("mfa_activate_totp"), {"code": code_of(key)})
    assert {factor.type for factor in Authenticator.objects.all()} == {"totp", "recovery_codes"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator")
        rows = " ".join(row[0] if isinstance(row[0], str) else json.dumps(row[0]) for row in cursor)
    assert key not in rows
    assert len(re.findall("sealed:", rows)) == 2
    assert SealedValue.objects.filter(owner_id=dot.pk, field="second_factor").count() == 2


def test_a_secret_that_was_moved_to_another_person_opens_nothing(app, dot, hal, client):
    stolen = Authenticator.objects.get(user=dot, type="totp").data
    Authenticator.objects.create(user=hal, type="totp", data=stolen)
    sign_in(client, "hal")
    client.raise_request_exception = False
    assert give_code(client, code_of(app)).status_code == 500
    assert not is_signed_in(client)
    with pytest.raises(envelope.Tampered):
        second_factors.open_(stolen["secret"], user_id=hal.pk)


def test_a_wrong_first_code_sets_nothing_up(client, dot, clock):
    sign_in(client)
    client.get(reverse("mfa_activate_totp"))
    answer = client.post(reverse("mfa_activate_totp"), {"code": "000000"})
    assert "This code is wrong, too old, or was used before." in answer.content.decode()
    assert not second_factors.has_one(dot)


def test_the_picture_stands_in_the_page_and_comes_from_nowhere(client, dot):
    sign_in(client)
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    assert "<svg" in page
    assert "data:" not in page
    assert "style=" not in page


def test_adding_and_removing_is_recorded_and_the_sealed_values_go(app, dot, client):
    sign_in(client)
    give_code(client, code_of(app))
    client.post(reverse("mfa_deactivate_totp"))
    assert not Authenticator.objects.exists()
    assert not SealedValue.objects.filter(field="second_factor").exists()
    events = AuditEvent.objects.filter(action__endswith="SecondFactor").order_by("sequence")
    assert [(event.action[4:], event.details["kind"]) for event in events] == [
        ("AddSecondFactor", "totp"),
        ("AddSecondFactor", "recovery_codes"),
        ("RemoveSecondFactor", "totp"),
        ("RemoveSecondFactor", "recovery_codes"),
    ]
    assert {event.actor for event in events} == {dot.principal}


def test_a_factor_that_cannot_be_recorded_is_not_added(client, dot, clock, monkeypatch):
    sign_in(client)
    key = key_on(client.get(reverse("mfa_activate_totp")).content.decode())

    def full(*_, **__):
        raise OSError

    monkeypatch.setattr(second_factors.trail, "record", full)
    client.raise_request_exception = False
    assert client.post(reverse("mfa_activate_totp"), {"code": code_of(key)}).status_code == 500
    assert not Authenticator.objects.exists()


# ---------------------------------------------------------------- signing in with it


def test_the_password_alone_opens_nothing_any_more(app, client):
    assert sign_in(client)["Location"] == reverse(CODE)
    assert not is_signed_in(client)
    assert client.get(reverse("session")).status_code == 302


def test_the_code_opens_the_console_and_policies_know_of_it(app, client):
    sign_in(client)
    assert give_code(client, code_of(app))["Location"] == reverse("home")
    assert is_signed_in(client)
    assert is_mfa(client)


def test_a_code_of_the_period_before_counts_too(app, client):
    sign_in(client)
    give_code(client, code_of(app, -1))
    assert is_signed_in(client)


def test_a_password_alone_is_no_second_factor_to_a_policy(client, dot):
    sign_in(client)
    assert is_signed_in(client)
    assert not is_mfa(client)


def test_what_another_person_proved_in_this_session_counts_for_nobody(client, dot, hal):
    client.force_login(hal)
    kept = client.session
    kept["account_authentication_methods"] = [{"method": "mfa", "at": 0}]
    kept["account_authentication_methods_user"] = str(dot.pk)
    kept.save()
    assert not is_mfa(client)


@pytest.mark.parametrize("spelling", ["{}", " {} ", "{} ", "{:.3}-"])
def test_auth_05_a_code_is_accepted_once_however_it_is_spelled(app, client, spelling):
    code = code_of(app)
    sign_in(client)
    give_code(client, code)
    assert is_signed_in(client)
    other = Client()
    sign_in(other)
    again = f"{code[:3]}-{code[3:]}" if "-" in spelling else spelling.format(code)
    answer = give_code(other, again)
    assert answer.status_code == 422
    assert "was used before" in answer.content.decode()
    assert not is_signed_in(other)


def test_auth_05_a_used_code_stays_used_for_as_long_as_it_would_be_right(app, client, clock):
    code = code_of(app, 1)
    sign_in(client)
    give_code(client, code)
    for _ in range(2):
        clock.shift(30)
        other = Client()
        sign_in(other)
        give_code(other, code)
        assert not is_signed_in(other)


def test_auth_05_an_earlier_code_is_refused_after_a_later_one(app, client):
    sign_in(client)
    give_code(client, code_of(app))
    other = Client()
    sign_in(other)
    give_code(other, code_of(app, -1))
    assert not is_signed_in(other)


def test_auth_05_the_code_that_set_the_app_up_does_not_sign_in(dot, client, clock):
    sign_in(client)
    key = set_up(client)
    other = Client()
    sign_in(other)
    give_code(other, code_of(key))
    assert not is_signed_in(other)


def test_codes_are_guessed_five_times_and_then_even_the_right_one_is_refused(app, client):
    sign_in(client)
    for number in range(5):
        give_code(client, f"00000{number}")
    answer = give_code(client, code_of(app))
    assert not is_signed_in(client)
    assert "Too many failed attempts." in answer.content.decode()


def test_signing_in_over_a_page_asks_for_the_code_in_the_same_dialog(app, client):
    answer = sign_in(client, headers=HTMX, follow=True)
    page = answer.content.decode()
    assert "<html" not in page
    assert 'id="sign-in-code"' in page
    wrong = give_code(client, "000000", headers=HTMX)
    assert wrong.status_code == 422
    assert "<html" not in wrong.content.decode()
    right = give_code(client, code_of(app), headers=HTMX)
    assert json.loads(right["HX-Trigger-After-Swap"]) == {"signedIn": {"user": "dot"}}


# ---------------------------------------------------------------- recovery codes


def test_recovery_codes_are_shown_when_they_are_made_and_never_again(app, client):
    sign_in(client)
    give_code(client, code_of(app))
    where = reverse("mfa_view_recovery_codes")
    assert codes_on(client.get(where).content.decode()) == []
    shown = codes_on(client.post(where).content.decode())
    assert len(set(shown)) == 10
    assert codes_on(client.get(where).content.decode()) == []
    assert set(codes_on(client.post(where).content.decode())).isdisjoint(shown)


def test_the_first_recovery_codes_are_shown_with_the_factor_and_work(client, dot, clock):
    sign_in(client)
    key = key_on(client.get(reverse("mfa_activate_totp")).content.decode())
    answer = client.post(reverse("mfa_activate_totp"), {"code": code_of(key)})
    page = answer.content.decode()
    codes = codes_on(page)
    assert len(set(codes)) == 10
    for words in ("Copy", "Download", "Print", "I have kept them", "shown only now"):
        assert words in page
    assert "no longer work" not in page
    assert "no-store" in answer["Cache-Control"]
    assert not set(codes) & set(codes_on(str(dict(client.session))))
    # Not on the next page either, nor a sentence that more of them were made.
    after = client.get(reverse("home"), follow=True).content.decode()
    assert not codes_on(after)
    assert "recovery codes" not in after
    other = Client()
    sign_in(other)
    give_code(other, codes[0])
    assert is_signed_in(other)


def test_the_first_recovery_codes_are_shown_with_a_passkey_too(dot):
    client = Client(headers={"Host": "localhost"})
    sign_in(client)
    answer = client.post(reverse("mfa_add_webauthn"), own.add_passkey(client))
    assert len(set(codes_on(answer.content.decode()))) == 10
    second = client.post(reverse("mfa_add_webauthn"), own.add_passkey(client))
    assert second["Location"] == reverse("mfa_index")  # the codes that were kept still work


def test_new_recovery_codes_say_that_the_earlier_ones_no_longer_work(app, client):
    sign_in(client)
    give_code(client, code_of(app))
    where = reverse("mfa_view_recovery_codes")
    [first, *_] = codes_on(client.post(where).content.decode())
    answer = client.post(where)
    assert "The earlier codes no longer work." in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    other = Client()
    sign_in(other)
    give_code(other, first)
    assert not is_signed_in(other)


def test_a_recovery_code_signs_in_once_and_counts_as_a_second_factor(app, client):
    sign_in(client)
    give_code(client, code_of(app))
    [code, *_] = codes_on(client.post(reverse("mfa_view_recovery_codes")).content.decode())
    other = Client()
    sign_in(other)
    give_code(other, f" {code[:6]} {code[6:]}")
    assert is_signed_in(other)
    assert is_mfa(other)
    third = Client()
    sign_in(third)
    for spelling in (code, f"{code} ", f"{code[:4]}-{code[4:]}"):
        give_code(third, spelling)
        assert not is_signed_in(third)


def test_whoever_has_no_second_factor_has_no_recovery_codes(client, dot):
    sign_in(client)
    for ask in (client.get, client.post):
        assert ask(reverse("mfa_view_recovery_codes")).status_code == 404


# ---------------------------------------------------------------- confirming


@pytest.fixture
def secret(dot):
    return factories.secret(initial="canary-91")


def reveal(secret) -> str:
    return reverse("secret_reveal", args=["main", secret.pk])


def test_ses_06_signing_in_counts_as_fresh_for_five_minutes(client, secret, clock):
    sign_in(client)
    clock.shift(299)
    assert client.get(reveal(secret)).status_code == 200
    clock.shift(1)
    answer = client.get(reveal(secret))
    assert answer["Location"].startswith(reverse("account_reauthenticate"))


def test_ses_06_what_keeps_a_session_alive_does_not_make_it_fresh(client, secret, clock):
    sign_in(client)
    for _ in range(5):
        clock.shift(61)
        client.post(reverse("session_stay"))
    answer = client.post(reveal(secret), {"reason": "x"})
    assert answer.status_code == 302
    assert not AuditEvent.objects.filter(action="kms:GetSecretValue").exists()


def test_ses_06_a_page_comes_back_to_the_action_after_the_password(client, secret, clock):
    sign_in(client)
    clock.shift(301)
    asked = client.get(reveal(secret))["Location"]
    assert "Confirm that it is you" in client.get(asked).content.decode()
    wrong = client.post(asked, {"password": "not this one", "next": reveal(secret)})
    assert wrong.status_code == 422
    right = client.post(asked, {"password": PASSWORD, "next": reveal(secret)})
    assert right["Location"] == reveal(secret)
    assert client.get(reveal(secret)).status_code == 200


def test_ses_06_a_file_is_asked_for_again_from_its_form(client, dot, clock):
    secret = factories.secret(initial="canary-91")
    sign_in(client)
    clock.shift(301)
    answer = client.post(reverse("secret_download", args=["main", secret.pk]), {"reason": "x"})
    assert answer["Location"].endswith(f"next={reveal(secret).replace('/', '%2F')}")
    assert "reason" not in str(dict(client.session))


def test_ses_06_a_part_of_a_page_gets_a_dialog_and_goes_on(client, secret, clock):
    sign_in(client)
    clock.shift(301)
    answer = client.post(reveal(secret), {"reason": "x"}, headers=HTMX)
    assert answer.status_code == 401
    assert json.loads(answer["HX-Trigger"]) == {"confirmFirst": {}}
    where = reverse("account_reauthenticate")
    page = client.get(where, headers=HTMX).content.decode()
    assert "<html" not in page
    assert 'id="confirm-password"' in page
    assert client.post(where, {"password": "wrong"}, headers=HTMX).status_code == 422
    done = client.post(where, {"password": PASSWORD}, headers=HTMX)
    assert (done.status_code, json.loads(done["HX-Trigger"])) == (204, {"confirmed": {}})
    assert "canary-91" in client.post(reveal(secret), {"reason": "x"}, headers=HTMX).content.decode()


def test_ses_06_a_code_confirms_too_and_then_a_policy_knows_of_it(app, client, secret, clock, dot):
    client.force_login(dot)
    clock.shift(301)
    assert not is_mfa(client)
    where = reverse("mfa_reauthenticate")
    assert reverse("mfa_reauthenticate") in client.get(reverse("account_reauthenticate")).content.decode()
    assert client.post(where, {"code": "000000"}, headers=HTMX).status_code == 422
    code = code_of(app)
    assert client.post(where, {"code": code}, headers=HTMX).status_code == 204
    assert is_mfa(client)
    clock.shift(301)
    assert client.post(where, {"code": code}, headers=HTMX).status_code == 422


def test_ses_06_confirming_is_throttled(client, secret, clock):
    sign_in(client)
    where = reverse("account_reauthenticate")
    for _ in range(5):
        client.post(where, {"password": "wrong"}, headers=HTMX)
    assert client.post(where, {"password": PASSWORD}, headers=HTMX).status_code == 422


def test_ses_06_setting_up_and_removing_a_factor_asks_for_it(app, client, dot, clock):
    client.force_login(dot)
    clock.shift(301)
    for name in ("mfa_deactivate_totp", "mfa_add_webauthn", "mfa_view_recovery_codes"):
        for ask in (client.get, client.post):
            assert ask(reverse(name))["Location"].startswith(reverse("account_reauthenticate"))
    assert second_factors.has_one(dot)


def test_a_session_that_was_never_opened_is_not_fresh(rf):
    request = rf.get("/")
    request.user, request.session = object(), {}
    assert not fresh.is_fresh(request)


# ---------------------------------------------------------------- who must have one


def test_an_installation_may_want_a_second_factor_of_its_administrators(client, dot, hal, settings):
    settings.REQUIRE_MFA = True
    sign_in(client)
    for path in ("/", "/all/secrets/"):
        assert client.get(path)["Location"] == reverse("mfa_index")
    assert client.get("/", headers=HTMX)["HX-Redirect"] == reverse("mfa_index")
    page = client.get(reverse("mfa_index")).content.decode()
    assert "You must set one up to continue" in page
    assert "Later" not in page
    other = Client()
    sign_in(other, "hal")
    assert other.get(reverse("mfa_index")).status_code == 200
    assert other.get("/get-started/").status_code == 200


def test_whoever_set_one_up_is_let_in_and_cannot_remove_the_last_one(client, dot, settings, clock):
    settings.REQUIRE_MFA = True
    sign_in(client)
    set_up(client)
    assert client.get("/get-started/").status_code == 200
    client.post(reverse("mfa_deactivate_totp"))
    assert second_factors.has_one(dot)


def test_without_that_setting_it_may_be_later(client, dot):
    sign_in(client)
    assert client.get("/get-started/").status_code == 200
    assert "Later" in client.get(reverse("mfa_index")).content.decode()


def test_a_policy_may_deny_whoever_signed_in_without_one(app, client, dot):
    from django.contrib.auth.models import Group

    from secrets_app.policy import policies

    document = {
        "Version": "1",
        "Statement": [
            {
                "Effect": "Deny",
                "Action": "kms:GetSecretValue",
                "Resource": "*",
                "Condition": {"Bool": {"acs:MFAPresent": "false"}},
            }
        ],
    }
    policy = policies.create("needs-a-code", json.dumps(document), actor=factories.administrator())
    policies.attach(policy, Group.objects.get(name="administrators"), actor=factories.administrator())
    secret = factories.secret(initial="canary-91")
    client.force_login(dot)
    assert client.post(reveal(secret), {"reason": "x"}).status_code == 403
    other = Client()
    sign_in(other)
    give_code(other, code_of(app))
    assert other.get(reveal(secret)).status_code == 200
