"""What people do to their own password, second factors and sessions."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.test import Client
from django.urls import reverse

from secrets_app.models import User
from secrets_app.people import identities, second_factors
from secrets_app.people.identities import Identity
from tests.factories import PASSWORD
from tests.screens.routes.calls import Call, Cast, Make, signed_in
from tests.screens.routes.passkey import Passkey

NEW_PASSWORD = "a phrase that only she knows"
KEY = "A" * 32
ADD, REMOVE, CONFIRM = "kms:AddSecondFactor", "kms:RemoveSecondFactor", "kms:ConfirmIdentity"


def code_of(key: str = KEY) -> str:
    counter = list(totp.yield_hotp_counters_from_time())[1]
    return totp.format_hotp_value(totp.hotp_value(key, counter))


def add_app(user: User) -> Authenticator:
    """Give somebody an app with the key `KEY`."""
    name = second_factors.seal(KEY, user_id=user.pk)
    return Authenticator.objects.create(user=user, type="totp", data={"secret": name})


def shown_to(client: Client, name: str) -> str:
    return unescape(client.get(reverse(name)).content.decode())


def options_on(page: str) -> dict[str, Any]:
    """The options for a passkey that stand in the page."""
    for begin in re.finditer(r'\{"publicKey"', page):
        found: dict[str, Any] = json.JSONDecoder().raw_decode(page, begin.start())[0]
        return found
    raise AssertionError("The page asks for no passkey.")


def activate_app(client: Client) -> dict[str, Any]:
    key = re.search(r'data-copy="([A-Z2-7]{32})"', shown_to(client, "mfa_activate_totp"))
    assert key
    return {"code": code_of(key[1])}


def add_passkey(client: Client, made: Passkey | None = None) -> dict[str, Any]:
    answer = (made or Passkey()).registered(options_on(shown_to(client, "mfa_add_webauthn")))
    return {"name": "mine", "credential": json.dumps(answer)}


def has_passkey(client: Client) -> Passkey:
    """Set a passkey up for whoever is signed in."""
    made = Passkey()
    answer = client.post(reverse("mfa_add_webauthn"), add_passkey(client, made))
    assert answer.status_code in {200, 302}, answer.content  # the first one comes with recovery codes
    assert Authenticator.objects.filter(type="webauthn").exists(), answer.content
    return made


def confirm_by_passkey(client: Client) -> dict[str, Any]:
    answer = has_passkey(client).confirmed(options_on(shown_to(client, "mfa_reauthenticate_webauthn")))
    return {"credential": json.dumps(answer)}


def confirm_by_code(cast: Cast) -> Call:
    for who in (cast.dot, cast.aud):
        add_app(who)
    return Call([], {"code": code_of()}, (CONFIRM,), auditor=302)


def remove_app(cast: Cast) -> Call:
    for who in (cast.dot, cast.aud):
        add_app(who)
    return Call([], {}, (REMOVE,), auditor=302)


def new_codes(cast: Cast) -> Call:
    """Two deeds: the codes that were there before open nothing any more."""
    for who in (cast.dot, cast.aud):
        add_app(who)

    def have_some(client: Client) -> None:
        client.post(reverse("mfa_view_recovery_codes"))

    return Call([], {}, (REMOVE, ADD), auditor=200, before=have_some)


def remove_passkey(cast: Cast) -> Call:
    """Another one's is not there: an auditor is told so."""
    client = Client(headers={"Host": "localhost"})
    client.force_login(cast.dot)
    has_passkey(client)
    pk = Authenticator.objects.get(user=cast.dot, type="webauthn").pk
    return Call([pk], {}, (REMOVE, REMOVE), auditor=404)  # and the recovery codes that stood in for it


def another_session(cast: Cast) -> UserSession:
    signed_in(cast.dot)
    return UserSession.objects.filter(user=cast.dot).latest("pk")


def end_others(cast: Cast) -> Call:
    another_session(cast)
    return Call([], {}, ("kms:EndSessions",), auditor=302)


def linked(cast: Cast) -> None:
    for who in (cast.dot, cast.aud):
        identities.link(who, Identity(settings.OIDC.issuer, f"subject-of-{who.username}"))


def unlink(cast: Cast) -> Call:
    linked(cast)
    return Call([], {}, ("kms:UnlinkIdentity",), auditor=302)


def confirm_at_provider(cast: Cast) -> Call:
    linked(cast)
    return Call([], {}, (), auditor=200)


CHANGES: dict[str, Make] = {
    "account_logout": lambda cast: Call([], {}, ("kms:SignOut",), auditor=302),
    "account_change_password": lambda cast: Call(
        [],
        {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD},
        ("kms:ChangePassword",),
        auditor=302,
    ),
    "account_reauthenticate": lambda cast: Call([], {"password": PASSWORD}, (CONFIRM,), auditor=302),
    "mfa_reauthenticate": confirm_by_code,
    "mfa_reauthenticate_webauthn": lambda cast: Call(
        [], {}, (CONFIRM,), auditor=302, before=confirm_by_passkey
    ),
    # An app or a passkey comes with recovery codes: two things that open an account.
    "mfa_activate_totp": lambda cast: Call([], {}, (ADD, ADD), auditor=200, before=activate_app),
    "mfa_deactivate_totp": remove_app,
    "mfa_add_webauthn": lambda cast: Call([], {}, (ADD, ADD), auditor=200, before=add_passkey),
    "mfa_remove_webauthn": remove_passkey,
    "mfa_view_recovery_codes": new_codes,
    # Beginning is no deed yet: the way back is, among those who come.
    "openid_link": lambda cast: Call([], {}, (), auditor=200),
    "openid_unlink": unlink,
    "openid_confirm": confirm_at_provider,
    "own_notifications": lambda cast: Call(
        [], {"events": ["rotation.failed"]}, ("kms:ChooseOwnNotifications",), auditor=302
    ),
    "session_end": lambda cast: Call([another_session(cast).pk], {}, ("kms:EndSessions",), auditor=404),
    "sessions_end_others": end_others,
    # How a list looks to oneself decides nothing.
    "list_preferences": lambda cast: Call([], {"list": "secrets", "rows": "50"}, (), auditor=302),
}
