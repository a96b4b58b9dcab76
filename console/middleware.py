"""What holds for every request: headers, its id and actor, sealed mode, the first password."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from hashlib import sha256
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django_htmx.http import HttpResponseClientRedirect

from console import errors, http, openid_settings, probes
from console.access import resources
from console.sessions import expiry, proofs
from console.sign_in import openid_only
from rotation import accounts
from rotation.inventory import holding
from secrets_app import keyring, origin, regions
from secrets_app.audit import trail
from secrets_app.models import Principal, User
from secrets_app.people import second_factors
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import lifecycle

log = logging.getLogger(__name__)

Next = Callable[[HttpRequest], HttpResponseBase]

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "serial", "usb")
)
PROBES = {"/livez": probes.livez, "/readyz": probes.readyz, "/healthz": probes.healthz}


def is_public(request: HttpRequest) -> bool:
    """Static files and the health checks: the same for all users, and needed while all else is closed."""
    return request.path_info in PROBES or request.path_info.startswith(settings.STATIC_URL)


class SecurityHeaders:
    """Every answer says what the browser may do with it, and nothing but static files may be kept."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response["X-Frame-Options"] = "DENY"  # for browsers that do not know frame-ancestors
        response["Permissions-Policy"] = PERMISSIONS_POLICY
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        # Not only for those signed in: a sign-in page from a cache carries a dead CSRF token.
        if not is_public(request):
            response["Cache-Control"] = "no-store"
        if getattr(request, "signed_out", False):
            # Not "cookies": that clears every cookie of the registrable domain, our neighbours' too.
            response["Clear-Site-Data"] = '"cache", "storage"'
        return response


class RequestId:
    """Each request has an id, which every line that it logs carries and the page of an error shows."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class Probes:
    """A health check is answered before all else: monitoring may use an address that is no host name

    of ours, and a check that read a session or a user would fail with them.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        return probe(request) if probe else self.get_response(request)


class RequestContext:
    """Each request has a principal and a time zone; the audit knows where it came from."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id: str = request.request_id  # type: ignore[attr-defined]
        request.principal = SimpleLazyObject(lambda: _principal(request))  # type: ignore[attr-defined]
        where = origin.bind(
            request_id=request_id,
            address=http.client_address(request),
            session=_session_mark(request),
            is_secure=request.is_secure(),
            is_mfa=_has_second_factor(request),
            at=timezone.now(),
        )
        with where, timezone.override(_zone(request)):
            response = self.get_response(request)
        if _goes_to_sign_in(request, response):
            response = expiry.sign_in_again()
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """What every view answers to what is not there, not allowed, being deleted, or cannot be recorded."""
        if isinstance(exception, requiring.NotFound):
            return errors.not_found(request)
        if isinstance(exception, decisions.NotAllowed):
            try:
                refused = resources.refused(cast(http.OperatorRequest, request), exception)
                return errors.forbidden(request, refused)
            except trail.NotRecorded as error:
                exception = error
        if isinstance(exception, _GONE):
            return errors.conflict(request, str(exception))
        if isinstance(exception, trail.NotRecorded):
            log.critical("Nothing was done, because it could not be recorded.", exc_info=exception)
            return errors.not_recorded(request, exception)
        return None


#: What may be looked at and not be acted on any more, wherever a view meets it.
_GONE = (
    lifecycle.NotEnabled
    | lifecycle.IsReplica
    | lifecycle.HasReplicas
    | accounts.Unmanaged
    | holding.Retired
    | holding.CredentialDeleted
    | regions.Retired
)


def _principal(request: HttpRequest) -> Principal | None:
    return request.user.principal if isinstance(request.user, User) else None


def _has_second_factor(request: HttpRequest) -> bool:
    """Whether this session was opened or renewed with a second factor; allauth keeps the record."""
    if not isinstance(request.user, User):
        return False
    # By user: a proof of another user in this session does not count.
    return any(record["method"] == "mfa" for record in get_authentication_records(request, request.user))


def _session_mark(request: HttpRequest) -> str:
    """Enough to group events by session; not enough to sign in with."""
    key = request.session.session_key
    return sha256(key.encode()).hexdigest()[:32] if key else ""


def _zone(request: HttpRequest) -> ZoneInfo:
    if is_public(request) or isinstance(request.user, AnonymousUser):
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(request.user.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _goes_to_sign_in(request: HttpRequest, response: HttpResponseBase) -> bool:
    # htmx would follow the redirect and swap the sign-in form into the part of the page that asked.
    is_redirect = response.status_code == 302
    to = response.get("Location", "").partition("?")[0]
    return is_redirect and bool(request.htmx) and to == reverse(settings.LOGIN_URL)  # type: ignore[attr-defined]


class SealedMode:
    """While no value can be opened, every request gets one page, reads nothing and writes nothing."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_public(request) and keyring.is_sealed():
            return errors.sealed()
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer a request that needed a disabled key, and changed nothing: which key, and who can help."""
        if isinstance(exception, keyring.KeyUnusable):
            return errors.conflict(request, str(exception), title="The key cannot be used now")
        return None


class FirstPassword:
    """Have users who still have the printed password choose a new one before anything else."""

    ALLOWED = frozenset({"account_change_password", "account_logout"})

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if is_public(request) or (match and match.view_name in self.ALLOWED):
            return None
        if not (isinstance(request.user, User) and request.user.must_change_password):
            return None
        return send(request, "account_change_password")


class SecondFactor:
    """Have users who need a second factor and have none set one up before anything else."""

    ALLOWED = FirstPassword.ALLOWED | {
        "mfa_index",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_view_recovery_codes",
        "account_reauthenticate",
        "openid_confirm",
        "openid_callback",
        "session",
        "session_stay",
    }

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if not settings.REQUIRE_MFA or is_public(request) or (match and match.view_name in self.ALLOWED):
            return None
        if not isinstance(request.user, User) or second_factors.has_one(request.user):
            return None
        if proofs.has_provider_factor(request, request.user):
            return None
        return send(request, "mfa_index") if second_factors.is_required(request.user) else None


class LinkFirst:
    """Have users who must sign in by the provider link their identity before anything else."""

    ALLOWED = SecondFactor.ALLOWED | {"openid_link"}

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        if settings.OIDC is None or not openid_settings.provider().is_only or is_public(request):
            return None
        match = request.resolver_match
        if (match and match.view_name in self.ALLOWED) or not isinstance(request.user, User):
            return None
        return send(request, "mfa_index") if openid_only.must_link(request.user) else None


def send(request: HttpRequest, name: str) -> HttpResponseBase:
    """Redirect the whole page, even if only a part of it asked."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(reverse(name))
    return redirect(name)
