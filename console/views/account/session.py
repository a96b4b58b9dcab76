"""Signing in, as a page and as a dialog over a page whose session has ended; and staying signed in."""

from __future__ import annotations

import json
from typing import Any

from allauth.account import views as account
from django.contrib.auth.decorators import login_required
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from console import errors, http
from console.http import OperatorRequest
from console.sessions import expiry
from secrets_app.models import User

#: The form behind the dialog may have a password field of its own.
DIALOG_IDS = "sign-in-%s"


class SignIn(account.LoginView):  # type: ignore[misc]
    """allauth's sign-in with all its limits; htmx gets the dialog instead of the page."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.htmx:  # type: ignore[attr-defined]
            return super().dispatch(request, *args, **kwargs)  # type: ignore[no-any-return]
        # Signed in meanwhile, in another tab: the page behind only needs its new token.
        if isinstance(request.user, User):
            return signed_in(request, request.user)
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        if response.status_code == 429:
            empty = self.get_form_class()(request=request, auto_id=DIALOG_IDS)
            return self._dialog(empty, is_throttled=True)
        return response

    def get_template_names(self) -> list[str]:
        return ["account/_sign_in.html"] if self.request.htmx else ["account/login.html"]

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs()
        if self.request.htmx:
            kwargs["auto_id"] = DIALOG_IDS
        return kwargs

    def form_valid(self, form: BaseForm) -> HttpResponseBase:
        response: HttpResponseBase = super().form_valid(form)
        if not self.request.htmx:
            return response
        if isinstance(self.request.user, User):
            return signed_in(self.request, self.request.user)
        if response["Location"] == reverse("mfa_authenticate"):
            return response  # the browser follows, and the code is asked for in this dialog
        return HttpResponseClientRedirect(response["Location"])

    def form_invalid(self, form: BaseForm) -> HttpResponseBase:
        if self.request.htmx:
            return self._dialog(form)
        page: HttpResponseBase = super().form_invalid(form)
        return page

    def _dialog(self, form: BaseForm, **context: object) -> HttpResponse:
        """Show the dialog again, with what is wrong."""
        return render(self.request, "account/_sign_in.html", {"form": form, **context}, status=422)


class ChangePassword(account.PasswordChangeView):  # type: ignore[misc]
    """allauth's; a user of the identity provider has no password to change."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request.user, User) and not request.user.has_usable_password():
            return errors.conflict(
                request, "You sign in with an identity provider and have no password here."
            )
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response


change_password = login_required(ChangePassword.as_view(http_method_names=http.FORM_METHODS))
sign_in = SignIn.as_view(http_method_names=http.FORM_METHODS)


def signed_in(request: HttpRequest, user: User) -> HttpResponse:
    """Carry the new CSRF token to the forms of the page, and who it is: they may belong to another."""
    answer = render(request, "account/_signed_in.html")
    return trigger_client_event(answer, "signedIn", {"user": user.username}, after="swap")


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    """Say by the header how long the session lasts; the page asks before it warns."""
    return HttpResponse(status=204)


@login_required
@require_POST
def stay(request: OperatorRequest) -> HttpResponse:
    """Extend the session, as every action does; say where nothing extends it any more."""
    answer = HttpResponse(status=204)
    if expiry.is_in_its_last_minute(request.session):
        text = "You signed in twelve hours ago. Sign in again; typed values stay on the page."
        answer["HX-Trigger"] = json.dumps({"toast": {"tone": "warning", "text": text}})
    return answer
