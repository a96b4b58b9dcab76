"""How people sign in: the places where our rules replace allauth's defaults."""

from __future__ import annotations

import uuid
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from console import http
from console.private_apis import ratelimit
from console.sessions import fresh, records
from console.sign_in import first_password, known_devices, openid_only
from secrets_app import seal_sets, seals
from secrets_app.models import User
from secrets_app.people import identities, second_factors, users


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """No open sign-up, no trust in forwarded addresses, a recorded change of password."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "The user name or the password is wrong.",
        "too_many_login_attempts": "Too many failed attempts. Wait five minutes, then try again.",
        "enter_current_password": "This is not your current password.",
        "incorrect_password": "This is not your current password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address to throttle by. Without one no limit would apply, so no sign-in is possible."""
        address = http.client_address(request)
        if address is None:
            raise PermissionDenied
        return address

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: str) -> str:
        """Count failures by name alone: by default each host name we answer to has a count of its own."""
        return credentials.get("username", "").strip().lower()

    def pre_authenticate(self, request: HttpRequest, **credentials: str) -> None:
        """Count this try by the browser if the person has used it before, and else with others.

        By address, by name, by network, and last over all users: no network can use that up. A right
        password gives the first two back.
        """
        name = credentials.get("username", "")
        device = known_devices.name_of(request, name)
        if device:
            failures: list[tuple[str, str | None]] = [("login_failed_device", device)]
            tries = []
        else:
            by_name = self._get_login_attempts_cache_key(request, **credentials)
            failures = [("login_failed_here", None), ("login_failed", by_name)]
            network = http.network(self.get_client_ip(request))
            tries = [("passwords_of_one", network), ("passwords_of_all", "everybody")]
        failed = [self._count(request, name, *limit) for limit in failures]
        for limit in tries:
            self._count(request, name, *limit)
        counted = [count for usage in failed for count in usage.usage]
        self._login_failed_rl_usage = ratelimit.RateLimitUsage(usage=counted)

    def _count(
        self, request: HttpRequest, name: str, action: str, key: str | None
    ) -> ratelimit.RateLimitUsage:
        usage = ratelimit.consume(request, app="allauth.account", action=action, key=key)
        if usage is None:
            records.not_tried(request, name)
            raise self.validation_error("too_many_login_attempts")
        return usage

    def set_password(self, user: User, password: str) -> None:
        is_first = user.must_change_password
        with transaction.atomic():
            super().set_password(user, password)
            users.password_changed(user)
            if is_first:
                transaction.on_commit(first_password.remove)
        context.request.chose_first_password = is_first

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """After the first password an administrator is led to a second factor, which may wait."""
        is_first = getattr(request, "chose_first_password", False)
        leads = is_first and isinstance(request.user, User) and second_factors.is_advised(request.user)
        return reverse("mfa_index" if leads else "home")

    def is_reauthentication_required(self, *, app: str, **_: object) -> bool:
        return not fresh.is_fresh(context.request)

    def authenticate(self, request: HttpRequest, **credentials: str) -> User | None:
        """The user with this password, if passwords count; if not, it is as wrong as any other."""
        user: User | None = super().authenticate(request, **credentials)
        if user is None or openid_only.takes_password(user):
            return user
        records.password_refused(request, user)
        return None

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """A user whose second factors or identities were changed outside Keyturn cannot sign in."""
        if not (seals.holds(user) and seal_sets.ways_in_hold(user.pk)):
            user.is_active = False  # here only: allauth answers as it does to a disabled user
        answer: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return answer

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        ways: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if isinstance(user, User) and not seal_sets.ways_in_hold(user.pk):
            return []
        if not isinstance(user, User) or settings.OIDC is None:
            return ways
        if not openid_only.takes_password(user):
            ways = [way for way in ways if way["id"] != "reauthenticate"]
        if identities.of(user, settings.OIDC.issuer):
            label = f"Use {settings.OIDC.name}"
            ways.append({"id": "openid", "description": label, "url": reverse("openid_confirm")})
        return ways

    def logout(self, request: HttpRequest) -> None:
        super().logout(request)
        request.signed_out = True  # type: ignore[attr-defined]  # SecurityHeaders clears the browser's copies


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors are sealed for the person who is signed in or about to be."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is wrong, too old, or was used before.",
        "cannot_delete_authenticator": "You must keep a second factor. Add another one first.",
    }

    def encrypt(self, text: str) -> str:
        return second_factors.seal(text, user_id=_whose())

    def decrypt(self, encrypted_text: str) -> str:
        return second_factors.open_(encrypted_text, user_id=_whose())

    def get_totp_label(self, user: User) -> str:
        """What an app lists a person by: no longer than a form takes a name, or no QR code holds it."""
        return user.username[: User._meta.get_field("username").max_length]

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return not second_factors.is_needed(authenticator)

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        return f"Passkey {Authenticator.objects.filter(user=user, type=type).count() + 1}"


def _whose() -> uuid.UUID:
    """Whose factors this request is about, by its session and never by the row that is opened."""
    request = context.request
    if isinstance(request.user, User):
        return request.user.pk
    pk: uuid.UUID = request._login_stage.login.user.pk  # between password and code
    return pk
