"""What nobody who is signed in asks for: signing in, the second factor of it, and coming by an invitation."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from secrets_app import invitations
from tests import factories
from tests.factories import PASSWORD
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


SIGN_IN: dict[str, Make] = {
    "account_login": lambda cast: Call([], {"login": "dot", "password": PASSWORD}, ("kms:SignIn",)),
    "mfa_authenticate": second_factor,
    "invitation_open": lambda cast: Call([link()], {}, (), "get"),
    "invitation": come,
}
