"""Second factors: an app's codes, passkeys, recovery codes; at sign-in, to confirm, and to set them up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from allauth.mfa.base import views as base
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_http_methods, require_safe

from console import http, private_apis
from console.http import OperatorRequest
from console.sessions import fresh, proofs
from console.views.account import session
from secrets_app.models import User
from secrets_app.people import identities, second_factors

#: Changed and recorded together, and only after a recent re-authentication.
_guarded: list[Callable[..., Any]] = [login_required, fresh.required(), transaction.atomic]


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    """What this person has, and the way to add and to remove one."""
    kept = [factor.wrap() for factor in Authenticator.objects.filter(user=request.user).order_by("pk")]
    context = {
        "factors": [factor for factor in kept if factor.instance.type in second_factors.KINDS],
        "has_app": any(factor.instance.type == Authenticator.Type.TOTP for factor in kept),
        "recovery": next(
            (factor for factor in kept if factor.instance.type == Authenticator.Type.RECOVERY_CODES), None
        ),
        "is_required": second_factors.is_required(request.user)
        and not proofs.has_provider_factor(request, request.user),
        "identity": identities.of(request.user, settings.OIDC.issuer) if settings.OIDC else None,
    }
    return render(request, "mfa/index.html", context)


@method_decorator(_guarded, name="dispatch")
class ActivateTotp(totp.ActivateTOTPView):  # type: ignore[misc]
    """Set up an app. Its picture stands in the page itself, which asks for nothing from elsewhere."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        drawn = context["totp_svg"]
        # Without the declaration of a document; the drawing is the library's, from our own address.
        return context | {"drawing": mark_safe(drawn[drawn.index("<svg") :])}  # noqa: S308

    def form_valid(self, form: BaseForm) -> HttpResponse:
        counter = form.used_counter()  # type: ignore[attr-defined]
        response: HttpResponse = super().form_valid(form)
        factor = Authenticator.objects.get(user=self.request.user, type=Authenticator.Type.TOTP)
        second_factors.counts_once(factor, counter)
        return _first_codes(self.request) if self.did_generate_recovery_codes else response


@method_decorator(_guarded, name="dispatch")
class DeactivateTotp(totp.DeactivateTOTPView):  # type: ignore[misc]
    """Remove the app."""


@method_decorator(_guarded, name="dispatch")
class AddPasskey(webauthn.AddWebAuthnView):  # type: ignore[misc]
    """Set up a passkey or a security key."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        # allauth makes a new form here, and the errors would be lost.
        return context | kwargs | {"options": json.dumps(context["js_data"]["creation_options"])}

    def form_valid(self, form: BaseForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        return _first_codes(self.request) if self.did_generate_recovery_codes else response


@method_decorator(_guarded, name="dispatch")
class RemovePasskey(webauthn.RemoveWebAuthnView):  # type: ignore[misc]
    """Remove a passkey."""

    success_url = reverse_lazy("mfa_index")

    def form_valid(self, form: BaseForm) -> HttpResponse:
        if second_factors.is_needed(self.get_object()):
            context = self.get_context_data(form=form, is_needed=True)
            return self.render_to_response(context, status=409)  # type: ignore[no-any-return]
        response: HttpResponse = super().form_valid(form)
        return response


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
@transaction.atomic
def recovery_codes(request: OperatorRequest) -> HttpResponse:
    """Make new recovery codes and show them, this once; looking at the page shows none."""
    if not second_factors.has_one(request.user):
        raise Http404
    kept = Authenticator.objects.filter(user=request.user, type=Authenticator.Type.RECOVERY_CODES).first()
    if request.method == "POST":
        made = private_apis.generate_recovery_codes(request)
        return _codes(request, made, replaces=kept is not None)
    left = len(kept.wrap().get_unused_codes()) if kept else 0
    return render(request, "mfa/recovery_codes/show.html", {"left": left})


def _first_codes(request: HttpRequest) -> HttpResponse:
    """The codes that were made with the first factor. In the answer itself: no later page can show them."""
    made = Authenticator.objects.get(user=request.user, type=Authenticator.Type.RECOVERY_CODES)
    return _codes(request, made, replaces=False)


def _codes(request: HttpRequest, made: Authenticator, *, replaces: bool) -> HttpResponse:
    context = {"codes": made.wrap().generate_codes(), "replaces": replaces}
    return render(request, "mfa/recovery_codes/show.html", context)


class Authenticate(base.AuthenticateView):  # type: ignore[misc]
    """The second half of signing in; over a page, in the dialog where the first half was."""

    def get_template_names(self) -> list[str]:
        return ["account/_second_factor.html"] if self.request.htmx else ["mfa/authenticate.html"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        user = self.stage.login.user
        kinds = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
        return context | {
            "has_passkey": Authenticator.Type.WEBAUTHN in kinds,
            "options": json.dumps(context["js_data"]["request_options"]),
            "errors": [error for listed in self._posted_errors() for error in listed],
        }

    def _posted_errors(self) -> list[Any]:
        posted = self.form
        return list(posted.errors.values()) if posted is not None else []

    def form_valid(self, form: BaseForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        if self.request.htmx and isinstance(self.request.user, User):
            return session.signed_in(self.request, self.request.user)
        return response

    def form_invalid(self, form: BaseForm) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        response.status_code = 422
        return response


activate_totp = ActivateTotp.as_view(http_method_names=http.FORM_METHODS)
deactivate_totp = DeactivateTotp.as_view(http_method_names=http.FORM_METHODS)
add_passkey = AddPasskey.as_view(http_method_names=http.FORM_METHODS)
remove_passkey = RemovePasskey.as_view(http_method_names=http.FORM_METHODS)
authenticate = Authenticate.as_view(http_method_names=http.FORM_METHODS)
