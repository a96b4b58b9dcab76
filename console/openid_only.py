"""Where people sign in by the identity provider alone (`KEYTURN_OIDC_ONLY`): whose password still counts.

Nobody is locked out by it. A password counts for whoever has linked no identity yet, and they are led to
linking one before anything else; administrators without one stay as they are, for the day on which the
provider is away. And a password that `recover` printed on the server counts until it is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from console import middleware, openid_settings
from secrets_app import identities, users
from secrets_app.models import User


def takes_password(user: User) -> bool:
    """Whether this person may sign in, or confirm who they are, with their password."""
    if settings.OIDC is None or not openid_settings.provider().is_only or user.must_change_password:
        return True
    return identities.of(user, openid_settings.provider().issuer) is None


class LinkFirst:
    """Who must sign in by the provider and has linked no identity does so before anything else."""

    ALLOWED = middleware.SecondFactor.ALLOWED | {"openid_link"}

    def __init__(self, get_response: middleware.Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        if settings.OIDC is None or not openid_settings.provider().is_only or middleware.is_public(request):
            return None
        match = request.resolver_match
        if (match and match.view_name in self.ALLOWED) or not isinstance(request.user, User):
            return None
        return middleware.send(request, "mfa_index") if _must_link(request.user) else None


def _must_link(user: User) -> bool:
    if identities.of(user, openid_settings.provider().issuer):
        return False
    return not user.groups.filter(name=users.ADMINISTRATORS).exists()
