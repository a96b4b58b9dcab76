"""Signing in with an identity provider: the beginnings, each by a POST, and the one way back.

A browser's rule for forms (`form-action` of the content security policy) follows redirects, and a company's
provider may redirect to another host. So each beginning answers with a page of our own that continues
automatically.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter as account_adapter
from allauth.account.utils import get_next_redirect_url
from allauth.core import ratelimit
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from requests import RequestException

from console import errors, openid_settings
from console.http import OperatorRequest
from console.sessions import fresh
from console.sign_in import openid, openid_answers
from console.views.account.confirm import WORDS
from secrets_app.models import User
from secrets_app.people import identities

View = Callable[..., HttpResponseBase]


def configured(view: View) -> View:
    """Where no provider is configured there is nothing at this address."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.OIDC is None:
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


@configured
@require_POST
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Go and sign in there."""
    if isinstance(request.user, User):
        return redirect("home")
    return _leave(request, "login", next_url=get_next_redirect_url(request))


@configured
@require_POST
def accept(request: HttpRequest) -> HttpResponseBase:
    """Come by an invitation, and by the provider from then on."""
    if isinstance(request.user, User):
        return openid_answers.signed_in_already(request)
    pk, _ = request.session.get(openid_answers.OPENED, ("", ""))
    if not pk:
        return openid_answers.void(request)
    return _leave(request, "accept", next_url=reverse("mfa_index"), invitation=pk)


@configured
@login_required
@require_POST
@fresh.required(back="mfa_index")
def link(request: OperatorRequest) -> HttpResponseBase:
    """Have an identity there open this person's sessions from now on."""
    if identities.of(request.user, openid_settings.provider().issuer):
        return openid_answers.conflict(request, identities.HasOne)
    return _leave(request, "link", user=str(request.user.pk))


@configured
@login_required
@require_POST
@fresh.required(back="mfa_index")
def unlink(request: OperatorRequest) -> HttpResponseBase:
    """Have it open nothing any more; a password stays."""
    try:
        if not identities.unlink(request.user, openid_settings.provider().issuer):
            raise Http404
    except identities.OnlyWay:
        return openid_answers.conflict(request, identities.OnlyWay)
    return redirect("mfa_index")


@configured
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: OperatorRequest) -> HttpResponseBase:
    """Re-authenticate at the provider: as a page, or as a dialog that leaves the page."""
    if identities.of(request.user, openid_settings.provider().issuer) is None:
        return redirect("account_reauthenticate")
    next_url = get_next_redirect_url(request)
    if request.method == "POST":
        began_at = timezone.now().timestamp()
        return _leave(request, "confirm", next_url=next_url, user=str(request.user.pk), began_at=began_at)
    ways = account_adapter().get_reauthentication_methods(request.user)
    next_ = f"?{urlencode({'next': next_url})}" if next_url else ""
    others = [{"url": way["url"] + next_, "label": WORDS[way["id"]]} for way in ways if way["id"] != "openid"]
    name = "account/_confirm_provider.html" if request.htmx else "account/confirm_provider.html"
    back = request.htmx.current_url_abs_path if request.htmx else next_url
    return render(request, name, {"others": others, "next": back or ""})


@configured
@require_GET
def callback(request: HttpRequest) -> HttpResponseBase:
    """Back from there. What came with it is looked at once, and opens what was asked for."""
    try:
        adapter = openid.Wire(request, openid_settings.provider().issuer)
        answer: HttpResponseBase = openid.Callback.adapter_view(adapter)(request)
    except RequestException as error:
        return openid_answers.away(request, error)
    except OAuth2Error as error:
        return openid_answers.not_trusted(request, error)
    return answer


def _leave(request: HttpRequest, process: str, **asked: Any) -> HttpResponse:
    """A page that continues to the provider automatically, or one that says why it cannot."""
    if not ratelimit.consume(request, action="openid"):
        problem = errors.Problem(
            429, "Too many requests", "Too many sign-ins were begun.", "Wait a minute.", "hourglass"
        )
        return errors.answer(request, problem)
    try:
        provider = get_adapter().get_provider(request, openid.Provider.id)
        address = provider.address(request, process, **asked)
    except RequestException as error:
        return openid_answers.away(request, error)
    except OAuth2Error as error:
        return openid_answers.not_trusted(request, error)
    answer = render(request, "account/to_provider.html", {"address": address})
    answer["Refresh"] = f"0; url={address}"
    return answer
