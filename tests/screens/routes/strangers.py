"""What nobody who is signed in asks for: signing in, the second factor of it, and coming by an invitation."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.test import Client
from django.urls import reverse

from secrets_app.people import identities, invitations
from secrets_app.people.identities import Identity
from tests import factories
from tests.factories import PASSWORD
from tests.provider_fixtures import at_provider, begin
from tests.screens.routes.calls import Call, Cast, Make
from tests.screens.routes.own import NEW_PASSWORD, add_app, code_of


def second_factor(cast: Cast) -> Call:
    add_app(cast.dot)

    def give_password(client: Client) -> None:
        client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})

    return Call([], {"code": code_of()}, ("kms:SignIn",), before=give_password)


def link() -> str:
    return invitations.invite("nia", actor=factories.administrator())[1].reveal()


def come(cast: Cast) -> Call:
    """Two deeds: a user was made, in the name of who invited; and the person came and chose a password."""
    token = link()

    def open_link(client: Client) -> None:
        client.get(reverse("invitation_open", args=[token]))

    given: dict[str, Any] = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return Call([], given, ("kms:CreateUser", "kms:AcceptInvitation"), before=open_link)


def come_back(cast: Cast) -> Call:
    identities.link(cast.dot, Identity(settings.OIDC.issuer, "subject-1"))

    def there(client: Client) -> dict[str, Any]:
        return dict(parse_qsl(at_provider(begin(client)).partition("?")[2]))

    return Call([], {}, ("kms:SignIn",), "get", before=there)


def leave_with_invitation(cast: Cast) -> Call:
    token = link()

    def open_link(client: Client) -> None:
        client.get(reverse("invitation_open", args=[token]))

    return Call([], {}, (), before=open_link, answer=200)


SIGN_IN: dict[str, Make] = {
    "account_login": lambda cast: Call([], {"login": "dot", "password": PASSWORD}, ("kms:SignIn",)),
    "mfa_authenticate": second_factor,
    "invitation_open": lambda cast: Call([link()], {}, (), "get"),
    "invitation": come,
    "openid_sign_in": lambda cast: Call([], {}, (), answer=200),
    "openid_callback": come_back,
    "openid_accept": leave_with_invitation,
}
