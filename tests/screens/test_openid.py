"""Signing in with an identity provider: whom it lets in, and every answer that proves nothing.

The provider is a model (tests/provider.py) on a port of its own, reached by real requests.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta

import pytest
import time_machine
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from console.sign_in import openid
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Refusals, User
from secrets_app.people import identities, users
from secrets_app.people.identities import Identity
from tests import clients
from tests.factories import PASSWORD
from tests.provider import SECRET
from tests.provider_fixtures import at_provider, begin, configuration, journey
from tests.screens.routes.own import add_app, code_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def linked(provider, dot) -> User:
    """Return dot, whose identity the provider knows."""
    identities.link(dot, Identity(provider.issuer, "subject-1", "dot@example.com"))
    return dot


def is_signed_in(client) -> bool:
    return "_auth_user_id" in client.session


def denied() -> list[str]:
    return list(AuditEvent.objects.filter(outcome="denied").values_list("decision", flat=True))


# ---------------------------------------------------------------- who gets in


def test_the_owner_of_a_linked_identity_is_signed_in_and_the_event_says_by_what(client, provider, linked):
    answer = journey(client, next="/audit/")
    assert answer["Location"] == "/audit/"
    assert client.session["_auth_user_id"] == str(linked.pk)
    event = AuditEvent.objects.filter(action="kms:SignIn").latest("sequence")
    assert (event.outcome, event.actor, event.details) == ("succeeded", linked.principal, {"by": "openid"})
    assert UserSession.objects.filter(user=linked).count() == 1


def test_the_journey_leads_to_no_other_host(client, provider, linked):
    assert journey(client, next="https://elsewhere.example/")["Location"] == "/"


def test_an_identity_that_nobody_linked_is_told_whom_to_ask_and_makes_nobody(client, provider, dot):
    User.objects.filter(pk=dot.pk).update(email=provider.name)
    users.create(provider.name, Plaintext(PASSWORD), must_change_password=False)
    before = User.objects.count()
    provider.told = {"email_verified": True, "preferred_username": dot.username}
    answer = journey(client)
    assert answer.status_code == 403
    assert "Ask an administrator of Keyturn for an invitation" in answer.content.decode()
    assert not is_signed_in(client)
    assert (User.objects.count(), SocialAccount.objects.count()) == (before, 0)
    assert denied() == ["No user has this identity."]


def test_the_same_refusal_again_and_again_is_one_event_and_a_count(client, provider, dot):
    for _ in range(3):
        assert journey(client).status_code == 403
    assert denied() == ["No user has this identity."]
    assert Refusals.objects.get().count == 2


def test_the_subject_of_another_issuer_is_another_identity(client, provider, dot):
    identities.link(dot, Identity("https://other.example", "subject-1", "dot@example.com"))
    assert journey(client).status_code == 403
    assert not is_signed_in(client)


def test_a_subject_that_changed_is_nobody_though_name_and_address_are_the_same(client, provider, linked):
    provider.subject = "subject-2"
    assert journey(client).status_code == 403
    provider.subject = "Subject-1"
    assert journey(client).status_code == 403
    assert not is_signed_in(client)


def test_a_disabled_person_is_refused_in_the_words_that_follow_a_password(client, provider, linked):
    User.objects.filter(pk=linked.pk).update(is_active=False)
    assert journey(client)["Location"] == reverse("account_inactive")
    assert not is_signed_in(client)
    assert denied() == ["This user is disabled."]


def test_a_deleted_person_s_identity_opens_nothing(client, provider):
    gone = User.objects.create(username="gone")
    SocialAccount.objects.create(user=gone, provider=provider.issuer, uid="subject-1", extra_data={})
    gone.delete()
    assert journey(client).status_code == 403
    assert not is_signed_in(client)


def test_a_local_second_factor_is_asked_for_as_after_a_password(client, provider, linked):
    add_app(linked)
    assert journey(client)["Location"].partition("?")[0] == reverse("mfa_authenticate")
    assert not is_signed_in(client)
    client.post(reverse("mfa_authenticate"), {"code": code_of()})
    assert is_signed_in(client)
    details = AuditEvent.objects.filter(action="kms:SignIn").latest("sequence").details
    assert details == {"by": "openid", "second_factor": "totp"}


def test_ses_03_the_session_gets_a_new_name_and_its_limits(client, provider, linked):
    planted = client.session
    planted["planted"] = True
    planted.save()
    journey(client)
    assert is_signed_in(client)
    assert client.session.session_key != planted.session_key
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert client.get("/")["Location"].startswith(reverse("account_login"))


# ---------------------------------------------------------------- answers that prove nothing


def without(name):
    return lambda claims: {key: value for key, value in claims.items() if key != name}


LIES = {
    "another nonce": lambda c: c | {"nonce": "of-another-request"},
    "no nonce": without("nonce"),
    "another audience": lambda c: c | {"aud": "another-client"},
    "made for another of its audiences": lambda c: c | {"aud": [c["aud"], "other"], "azp": "other"},
    "another issuer": lambda c: c | {"iss": "https://other.example"},
    "expired": lambda c: c | {"exp": int(time.time()) - 120},
    "never expires": without("exp"),
    "from the future": lambda c: c | {"iat": int(time.time()) + 900},
    "nobody": without("sub"),
    "an empty subject": lambda c: c | {"sub": ""},
    "a subject that fits no column": lambda c: c | {"sub": "s" * 192},
    "no audience": without("aud"),
    "no issuer": without("iss"),
}
SIGNATURES = ("unsigned", "signed_by_another", "signed_with_the_public_key")


def test_no_lie_in_a_token_signs_anybody_in(client, provider, linked):
    passed = []
    for name, lie in LIES.items():
        provider.forge = lie
        answer = journey(client)
        if answer.status_code != 403 or is_signed_in(client):
            passed.append(name)
    provider.forge = lambda claims: claims
    assert passed == []
    assert set(denied()) == {"The identity provider's answer was refused."}
    journey(client)
    assert is_signed_in(client)  # the same browser, once nothing is a lie


def test_no_token_that_the_provider_did_not_sign_signs_anybody_in(client, provider, linked):
    passed = []
    for name in SIGNATURES:
        provider.sign = getattr(provider, name)
        answer = journey(client)
        if answer.status_code != 403 or is_signed_in(client):
            passed.append(name)
    assert passed == []


def test_an_answer_counts_once(client, provider, linked):
    back = at_provider(begin(client))
    client.get(back)
    assert is_signed_in(client)
    client.post(reverse("account_logout"))
    assert client.get(back).status_code == 409
    assert not is_signed_in(client)


def test_a_token_of_one_request_does_not_answer_another(client, provider, linked):
    """The state is right and the nonce is an older request's."""
    first = begin(client)
    nonce = dict(part.split("=") for part in first.partition("?")[2].split("&"))["nonce"]
    provider.forge = lambda claims: claims | {"nonce": nonce}
    assert journey(client).status_code == 403
    assert not is_signed_in(client)


def test_an_answer_begun_in_another_browser_signs_nobody_in_here(client, provider, linked):
    """Login CSRF: somebody would work in the account of whoever sent them there."""
    back = at_provider(begin(Client()))
    answer = client.get(back)
    assert answer.status_code == 409
    assert "not started here" in answer.content.decode()
    assert not is_signed_in(client)
    assert denied() == ["The answer belongs to no sign-in that this browser began."]


def test_an_answer_after_ten_minutes_is_too_late(client, provider, linked):
    back = at_provider(begin(client))
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        assert client.get(back).status_code == 409
    assert not is_signed_in(client)


def test_a_code_that_somebody_saw_is_worth_nothing_without_the_proof_in_the_session(client, provider, linked):
    stolen = at_provider(begin(client)).partition("code=")[2].partition("&")[0]
    thief = Client()
    back = at_provider(begin(thief))
    mine = back.partition("code=")[2].partition("&")[0]
    assert thief.get(back.replace(mine, stolen)).status_code == 403
    assert not is_signed_in(thief)


def test_what_is_asked_of_the_provider_has_state_nonce_and_a_proof_key_and_nobody_can_add_to_it(
    client, provider, linked
):
    begin_at = (
        f"{reverse('openid_sign_in')}?process=link&scope=admin&auth_params=prompt%3Dnone&action=rerequest"
    )
    address = client.post(begin_at)["Refresh"].partition("url=")[2]
    at_provider(address)
    asked = provider.requests[-1]
    assert set(asked) == {
        "client_id", "redirect_uri", "scope", "response_type", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert (asked["code_challenge_method"], sorted(asked["scope"].split())) == ("S256", ["openid", "profile"])
    assert asked["redirect_uri"] == "http://testserver/sign-in/identity/callback/"


def test_signing_in_begins_by_post_alone_and_with_its_token(provider, linked):
    strict = Client(enforce_csrf_checks=True)
    assert strict.get(reverse("openid_sign_in")).status_code == 405
    assert strict.post(reverse("openid_sign_in")).status_code == 403
    assert provider.paths == []


def test_journeys_are_throttled_by_address(client, provider, linked):
    statuses = {client.post(reverse("openid_sign_in")).status_code for _ in range(61)}
    assert statuses == {200, 429}


# ---------------------------------------------------------------- a provider that is away, or odd


def refused(client, begun_status: int) -> str:
    answer = client.post(reverse("openid_sign_in"))
    assert answer.status_code == begun_status
    return str(answer.content.decode())


def test_a_provider_that_is_away_is_a_page_that_says_what_to_do(client, provider, linked, settings, tmp_path):
    settings.OIDC = configuration("http://127.0.0.1:9", tmp_path / "client.secret")
    page = refused(client, 503)
    assert "The identity provider did not answer" in page
    assert "sign in with your password" in page


def test_discovery_that_is_odd_sends_nobody_anywhere(client, provider, linked):
    for odd in (
        {"issuer": "https://other.example"},
        {"authorization_endpoint": "http://elsewhere.example/authorize"},
        {"token_endpoint": "ftp://elsewhere.example"},
        {"jwks_uri": 7},
    ):
        provider.discovery = odd
        refused(client, 403)
    provider.discovery = {}
    path = "/.well-known/openid-configuration"
    for status, text in ((500, b""), (200, b"no json")):
        provider.broken = {path: (status, text)}
        refused(client, 503)
    provider.broken = {path: (200, b"[]")}
    refused(client, 403)


def test_a_provider_elsewhere_sends_nobody_to_a_port_of_this_machine(provider, settings, tmp_path):
    settings.OIDC = configuration("https://login.example.com", tmp_path / "client.secret")
    wire = openid.Wire(None, settings.OIDC.issuer)
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    honest = {name: f"https://keys.example.com/{name}" for name in names}
    wire._openid_config = {"issuer": "https://login.example.com"} | honest
    assert wire.authorize_url == honest["authorization_endpoint"]
    for name in names:
        wire = openid.Wire(None, settings.OIDC.issuer)
        wire._openid_config = {"issuer": "https://login.example.com"} | honest | {name: provider.issuer}
        with pytest.raises(openid.NotTrusted):
            _ = wire.openid_config


def test_a_redirect_of_the_provider_s_is_not_followed(client, provider, linked):
    for path in ("/.well-known/openid-configuration", "/keys"):
        back = at_provider(begin(client))
        provider.moved = path
        assert client.get(back).status_code == 503
        provider.moved = ""
    assert "/elsewhere" not in provider.paths
    assert not is_signed_in(client)


def test_a_provider_that_breaks_on_the_way_back_is_no_error_of_ours(client, provider, linked):
    odd = {"/token": (500, b""), "/keys": (404, b"{}")}
    for path, answer in (*odd.items(), ("/token", (200, b"[1]")), ("/keys", (200, b'{"keys": [7]}'))):
        back = at_provider(begin(client))
        provider.broken = {path: answer}
        assert client.get(back).status_code in {403, 503}, (path, answer)
        provider.broken = {}
    assert not is_signed_in(client)


def test_what_was_cancelled_there_is_said(client, provider, linked):
    back = at_provider(begin(client))
    state = back.partition("state=")[2]
    answer = client.get(f"{reverse('openid_callback')}?error=access_denied&state={state}")
    assert "was cancelled" in answer.content.decode()
    assert not is_signed_in(client)


def test_without_its_secret_s_file_nobody_is_asked_and_the_page_says_so(client, provider, linked, settings):
    settings.OIDC.secret_file.unlink()
    refused(client, 503)
    assert provider.paths == []
    assert client.get(reverse("account_login")).status_code == 200


def test_a_new_secret_in_the_file_counts_at_once(client, provider, linked, settings):
    settings.OIDC.secret_file.write_text("an-older-secret")
    assert journey(client).status_code == 403
    settings.OIDC.secret_file.write_text(SECRET + "\n")
    journey(client)
    assert is_signed_in(client)


# ---------------------------------------------------------------- what stays behind


def test_no_token_and_no_secret_is_kept_or_logged(client, provider, linked, caplog):
    provider.told = {"given_name": "a-claim-that-nobody-needs"}
    caplog.set_level(logging.DEBUG)
    tokens = []
    provider.sign = lambda claims: tokens.append(provider.signed(claims)) or tokens[-1]
    pages = [client.post(reverse("openid_sign_in")).content.decode()]
    in_between = str(client.session.items())
    journey(client)
    provider.subject = "unknown"
    pages.append(journey(Client()).content.decode())
    provider.broken = {"/token": (500, b"an-access-token-that-nobody-keeps")}
    pages.append(journey(Client()).content.decode())
    kept = " ".join(str(one) for one in clients.kept_sessions())
    kept += json.dumps(list(SocialAccount.objects.values("uid", "extra_data")))
    kept += in_between + " ".join(pages) + caplog.text + str([vars(e) for e in AuditEvent.objects.all()])
    for secret in (SECRET, "an-access-token-that-nobody-keeps", "a-claim-that-nobody-needs", *tokens):
        assert secret not in kept, secret
    assert len(tokens) == 2
    assert (SocialToken.objects.count(), SocialApp.objects.count()) == (0, 0)
    assert SocialAccount.objects.get().extra_data == {"name": "dot@example.com"}


def test_where_it_cannot_be_recorded_nobody_is_signed_in(client, provider, linked, monkeypatch):
    back = at_provider(begin(client))

    def full(*args, **named):
        raise trail.NotRecorded(trail.NotRecorded.__doc__)

    monkeypatch.setattr(trail, "record", full)
    assert client.get(back).status_code == 503
    assert not is_signed_in(client)


# ---------------------------------------------------------------- not configured


def test_where_nothing_is_configured_nothing_is_shown_and_nothing_is_there(client, dot):
    assert "openid" not in client.get(reverse("account_login")).content.decode()
    client.force_login(dot)
    assert "identity" not in client.get(reverse("mfa_index")).content.decode()
    for name in ("sign_in", "callback", "confirm", "link", "unlink", "accept"):
        for one in (client, Client()):
            for ask in (one.get, one.post):
                assert ask(reverse(f"openid_{name}")).status_code == 404, name


def test_the_sign_in_page_shows_the_provider_s_name(client, provider):
    page = client.get(reverse("account_login"), {"next": "/audit/"}).content.decode()
    assert "Sign in with Example" in page
    assert page.count('value="/audit/"') == 2  # with a password, and with the provider


def test_signing_in_again_over_a_page_offers_it_too(client, provider):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/audit/"}
    page = client.get(reverse("account_login"), headers=headers).content.decode()
    assert "Sign in with Example" in page
    assert 'value="/audit/"' in page
