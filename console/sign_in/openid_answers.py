"""Pages for an identity provider's answer that led to no sign-in: what happened, and what to do.

Each leaves an event where an identity was refused; none repeats what the provider sent.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from console import errors, openid_settings
from console.sessions import records
from console.sign_in import openid
from secrets_app.models import User
from secrets_app.people import invitations

log = logging.getLogger(__name__)

#: In the session in which a link was opened: which invitation, and the hash of the link.
OPENED = "invitation"


def unknown(request: HttpRequest) -> HttpResponse:
    """403: the provider knows this identity, but it is linked to no user here."""
    _note(request, "No user has this identity.")
    name = _name()
    return _answer(
        request,
        403,
        "No user has this identity",
        f"{name} knows you, but your identity there is linked to no user of Keyturn.",
        "Ask an administrator of Keyturn for an invitation. If you have a password here, sign in with it and "
        f"link {name} under Second factor in your menu.",
        "user-x",
    )


def away(request: HttpRequest, error: Exception) -> HttpResponse:
    """503: the provider gave no answer, or one that is an error or leads elsewhere."""
    log.warning(
        "The identity provider %s gave no answer: %s.",
        openid_settings.provider().issuer,
        type(error).__name__,
    )
    other = " or sign in with your password" if not openid_settings.provider().is_only else ""
    return _answer(
        request,
        503,
        "The identity provider did not answer",
        f"Keyturn asked {_name()} and got no answer that it could use. Nothing was changed.",
        f"Try again in a moment{other}. An administrator can find the cause in Keyturn's log.",
        "unplug",
    )


def not_trusted(request: HttpRequest, error: Exception | None) -> HttpResponse:
    """403: something answered, and it is not what the provider would say to this request."""
    # Of allauth's errors only the kind is told: their texts hold what the provider sent.
    why = str(error) if isinstance(error, openid.NotTrusted) else f"{type(error).__name__}."
    log.warning(
        "An answer of the identity provider %s was refused: %s", openid_settings.provider().issuer, why
    )
    _note(request, "The identity provider's answer was refused.")
    return _answer(
        request,
        403,
        "The identity provider's answer was not accepted",
        f"What came back from {_name()} does not prove who you are. Nothing was changed.",
        "Start again. If the problem persists, an administrator can find the cause in Keyturn's log.",
        "shield-x",
    )


def begun_elsewhere(request: HttpRequest) -> HttpResponse:
    """409: this browser did not ask for this answer, or too long ago, or has used it."""
    _note(request, "The answer belongs to no sign-in that this browser began.")
    return _answer(
        request,
        409,
        "This sign-in was not started here",
        "The answer of the identity provider belongs to another browser or session, is more than ten minutes "
        "old, or was used before. Nothing was changed.",
        "Begin again.",
        "history",
    )


def cancelled(request: HttpRequest) -> HttpResponse:
    """403: the person, or the provider for them, said no."""
    return _answer(
        request,
        403,
        "Signing in was cancelled",
        f"{_name()} reported that it was cancelled. Nothing was changed.",
        "Start again, or sign in another way.",
        "ban",
    )


def not_confirmed(request: HttpRequest, because: str) -> HttpResponse:
    """403: the answer does not prove that the user is present now."""
    _note(request, because)
    return _answer(
        request,
        403,
        "This did not confirm who you are",
        f"{because} Nothing was changed.",
        "Confirm as the user who is signed in here, with a sign-in at the provider; or with a second "
        "factor, which you set up under Second factor in your menu.",
        "shield-x",
    )


def signed_in_already(request: HttpRequest) -> HttpResponse:
    """409: an invitation is for a new user, and a user is signed in."""
    return errors.conflict(request, "You are signed in already. Sign out, then open the link again.")


def conflict(request: HttpRequest, error: type[Exception]) -> HttpResponse:
    """409: the identity, or the name, belongs to another user."""
    return errors.conflict(request, str(error.__doc__))


def void(request: HttpRequest) -> HttpResponse:
    """410: the invitation is not valid any more."""
    problem = errors.Problem(410, "This link is not valid", str(invitations.Void.__doc__))
    return errors.answer(request, problem)


def _name() -> str:
    return openid_settings.provider().name


def _note(request: HttpRequest, because: str) -> None:
    user = request.user if isinstance(request.user, User) else None
    records.identity_failed(because, of=user, is_confirming=user is not None)


def _answer(
    request: HttpRequest, status: int, title: str, sentence: str, advice: str, icon: str
) -> HttpResponse:
    way_out = ("", "") if isinstance(request.user, User) else (reverse("account_login"), "Go to sign-in")
    return errors.answer(request, errors.Problem(status, title, sentence, advice, icon, way_out=way_out))
