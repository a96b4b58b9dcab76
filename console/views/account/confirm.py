"""Confirm who it is, with the password or a second factor: as a page, or as a dialog over one.

`console.sessions.fresh` says when it is asked for.
"""

from __future__ import annotations

import json
from typing import Any

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.webauthn import views as webauthn
from django.contrib.auth.decorators import login_required
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator

from console import http

#: The page behind the dialog may have a password field of its own.
DIALOG_IDS = "confirm-%s"
WORDS = {
    "reauthenticate": "Use the password",
    "mfa_reauthenticate": "Use a code",
    "mfa_reauthenticate:webauthn": "Use a passkey",
}


class _Confirm:
    """What the three ways have in common, beside allauth's own limits."""

    request: HttpRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if response.status_code == 429 and request.htmx:  # type: ignore[attr-defined]
            return render(request, "account/_confirm.html", {"is_throttled": True}, status=422)
        return response

    def get_template_names(self) -> list[str]:
        return ["account/_confirm.html" if self.request.htmx else "account/reauthenticate.html"]  # type: ignore[attr-defined]

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs()  # type: ignore[misc]
        return kwargs | ({"auto_id": DIALOG_IDS} if self.request.htmx else {})  # type: ignore[attr-defined]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # allauth's passkey view leaves out the form with the errors.
        context: dict[str, Any] = super().get_context_data(**kwargs) | kwargs  # type: ignore[misc]
        others = [
            {"url": other["url"], "label": WORDS.get(other["id"]) or other["description"]}
            for other in self.get_reauthentication_alternatives()  # type: ignore[attr-defined]
        ]
        options = json.dumps(context["js_data"]["request_options"]) if "js_data" in context else ""
        return context | {"others": others, "options": options}

    def form_valid(self, form: BaseForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
        if self.request.htmx:  # type: ignore[attr-defined]
            return HttpResponse(status=204, headers={"HX-Trigger": json.dumps({"confirmed": {}})})
        return response

    def form_invalid(self, form: BaseForm) -> HttpResponse:
        context = self.get_context_data(form=form)
        return render(self.request, self.get_template_names(), context, status=422)


@method_decorator(login_required, name="dispatch")
class Password(_Confirm, account.ReauthenticateView):  # type: ignore[misc]
    """With the password."""


@method_decorator(login_required, name="dispatch")
class Code(_Confirm, mfa.ReauthenticateView):  # type: ignore[misc]
    """With a code of an app, or a recovery code."""


@method_decorator(login_required, name="dispatch")
class Passkey(_Confirm, webauthn.ReauthenticateWebAuthnView):  # type: ignore[misc]
    """With a passkey."""


password = Password.as_view(http_method_names=http.FORM_METHODS)
code = Code.as_view(http_method_names=http.FORM_METHODS)
passkey = Passkey.as_view(http_method_names=http.FORM_METHODS)
