"""What a proven identity allows: to sign in, to be linked, to accept an invitation, to re-authenticate.

It opens what was asked for when the journey began, which the person's own session remembers, and nothing to
an identity that is not linked: signing in elsewhere creates no user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from requests import RequestException, Session

from console import openid_settings
from console.sessions import proofs, records
from console.sign_in import openid
from console.sign_in import openid_answers as answers
from secrets_app.models import Invitation, User
from secrets_app.people import identities, invitations
from secrets_app.people.identities import Identity

Answer = HttpResponseBase | None


class IdentityAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """The one client that is configured, and our decisions where allauth would make its own."""

    def list_apps(self, request: HttpRequest, provider: str = "", client_id: str = "") -> list[SocialApp]:
        is_ours = settings.OIDC and provider in {
            "",
            None,
            openid.Provider.id,
            openid_settings.provider().issuer,
        }
        return [openid.app()] if is_ours else []

    def get_requests_session(self) -> Session:
        """With TLS verified and a limit of time, as it comes; and it follows no redirect."""
        session: Session = super().get_requests_session()
        session.max_redirects = 0
        return session

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        user: User = sociallogin.user  # names and addresses are not taken from a provider
        return user

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Answer in allauth's place, except for users who may sign in and for disabled users."""
        if answer := PROCESSES[sociallogin.state["process"]](request, sociallogin):
            raise ImmediateHttpResponse(answer)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: openid.Provider,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Say what to do. The exception's text may hold what the provider sent, so only its kind is told."""
        state = (extra_context or {}).get("state")
        if state is None:
            raise ImmediateHttpResponse(answers.begun_elsewhere(request))
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(answers.cancelled(request))
        if isinstance(exception, RequestException):
            raise ImmediateHttpResponse(answers.away(request, exception))
        raise ImmediateHttpResponse(answers.not_trusted(request, exception))


# ---------------------------------------------------------------- what was asked for


def _sign_in(request: HttpRequest, login: SocialLogin) -> Answer:
    if isinstance(request.user, User):
        return redirect("home")  # signed in meanwhile, in another tab
    if not login.is_existing:
        return answers.unknown(request)
    if not login.user.is_active:
        records.identity_failed("This user is disabled.", of=login.user)
        return None  # allauth says so, as after a password
    _came(request, login, login.user, asked_at=_asked_at(login))
    return None


def _accept(request: HttpRequest, login: SocialLogin) -> Answer:
    """Make the invited person, or let them in again, whose way in is this identity, and sign them in."""
    if isinstance(request.user, User):
        return answers.signed_in_already(request)
    pk, token_hash = request.session.get(answers.OPENED, ("", ""))
    invitation = Invitation.objects.filter(pk=pk).first() if pk else None
    if invitation is None or str(invitation.pk) != login.state["invitation"]:
        return answers.void(request)
    if login.is_existing and login.user != invitation.user:
        return answers.conflict(request, identities.Taken)
    try:
        invitations.accept(invitation, token_hash, None, identity=_identity(login))
    except invitations.Void:
        return answers.void(request)
    except (invitations.NameTaken, identities.Taken) as error:
        return answers.conflict(request, type(error))
    del request.session[answers.OPENED]
    if login.is_existing:
        login.user.refresh_from_db()  # whose password went
    else:
        login.lookup()
    # The link was just used, so its user is present, even if the provider asked long ago.
    _came(request, login, login.user, asked_at=timezone.now().timestamp())
    return None


def _link(request: HttpRequest, login: SocialLogin) -> Answer:
    if not (isinstance(request.user, User) and str(request.user.pk) == login.state["user"]):
        return answers.begun_elsewhere(request)
    if login.is_existing and login.user != request.user:
        return answers.conflict(request, identities.Taken)
    try:
        identities.link(request.user, _identity(login))
    except (identities.Taken, identities.HasOne) as error:
        return answers.conflict(request, type(error))
    return redirect("mfa_index")


def _confirm(request: HttpRequest, login: SocialLogin) -> Answer:
    if not (isinstance(request.user, User) and str(request.user.pk) == login.state["user"]):
        return answers.begun_elsewhere(request)
    if login.user != request.user:
        return answers.not_confirmed(request, "Another identity came back.")
    # A provider that was asked for a fresh sign-in and made none says so by an old time, or by no time.
    if _asked_at(login) < login.state["began_at"] - openid.LEEWAY_SECONDS:
        return answers.not_confirmed(request, "The provider did not ask again who it is.")
    _came(request, login, request.user, asked_at=_asked_at(login), is_confirming=True)
    return redirect(login.state.get("next") or "home")


PROCESSES: dict[str, Callable[[HttpRequest, SocialLogin], Answer]] = {
    "login": _sign_in,
    "accept": _accept,
    "link": _link,
    "confirm": _confirm,
}


def _identity(login: SocialLogin) -> Identity:
    account = login.account
    return Identity(account.provider, account.uid, account.extra_data["name"])


def _came(
    request: HttpRequest, login: SocialLogin, user: User, *, asked_at: float, is_confirming: bool = False
) -> None:
    proofs.came_by_provider(
        request,
        user,
        asked_at=asked_at,
        has_second_factor=_has_second_factor(login.claims),
        is_confirming=is_confirming,
    )


def _asked_at(login: SocialLogin) -> float:
    """When the provider last asked the person to show who they are; 0 where it does not say."""
    auth_time = login.claims.get("auth_time")
    return float(auth_time) if isinstance(auth_time, int | float) else 0.0


def _has_second_factor(claims: openid.Claims) -> bool:
    """Whether a claim proves one (RFC 8176, OpenID Connect Core 1.0, 2), and this installation counts it."""
    methods, context = claims.get("amr"), claims.get("acr")
    references = (
        [method for method in methods if isinstance(method, str)] if isinstance(methods, list) else []
    )
    references += [context] if isinstance(context, str) else []
    return bool(openid_settings.provider().second_factor.intersection(references))
