"""How people sign in: the places where our rules replace allauth's defaults."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse

from console import http
from secrets_app import users
from secrets_app.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """No open sign-up, no trust in forwarded addresses, a recorded change of password."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "The user name or the password is wrong.",
        "too_many_login_attempts": "Too many failed attempts. Wait five minutes, then try again.",
        "enter_current_password": "This is not your current password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address to throttle by. Without one nobody could be throttled, so nobody signs in."""
        address = http.client_address(request)
        if address is None:
            raise PermissionDenied
        return address

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: str) -> str:
        """Count failures by name alone: by default each host name we answer to has a count of its own."""
        return credentials.get("username", "").strip().lower()

    def set_password(self, user: User, password: str) -> None:
        with transaction.atomic():
            super().set_password(user, password)
            users.password_changed(user)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")

    def logout(self, request: HttpRequest) -> None:
        super().logout(request)
        request.signed_out = True  # type: ignore[attr-defined]  # SecurityHeaders clears the browser's copies
