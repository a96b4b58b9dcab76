"""A form in a dialog: inside the <dialog> where htmx asks, the same fragment as a page otherwise.

On a page of its own it is sent by htmx too, so typed values survive a re-authentication before the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve
from django_htmx.http import HttpResponseClientRedirect

from console.http import OperatorRequest

#: Two forms that take each other's place as a choice in them changes.
_ONE_PAGE = {"secret_create", "secret_create_generic"}


def show(
    request: OperatorRequest, fragment: str, title: str, context: Mapping[str, object], *, status: int = 200
) -> HttpResponse:
    """Show the form; `status` is 422 or 409 where it comes back with errors."""
    is_page = not request.htmx or _is_sent_from_itself(request)
    shown = {**context, "title": title, "fragment": fragment, "is_page": is_page}
    return render(request, fragment if request.htmx else "dialog_page.html", shown, status=status)


def ask(request: OperatorRequest, fragment: str, title: str, context: Mapping[str, object]) -> HttpResponse:
    """Show the form; one that was sent comes back as 422, with what is wrong beside its fields."""
    return show(request, fragment, title, context, status=422 if request.method == "POST" else 200)


def leave(request: OperatorRequest, url: str) -> HttpResponse:
    """Go on to `url` after the form did its work."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def back(request: OperatorRequest, otherwise: str) -> HttpResponse:
    """Go back to the list of secrets that the dialog lay over, as it was; else on to `otherwise`."""
    under = request.htmx.current_url_abs_path if request.htmx else None
    return leave(request, under if under and _is_list(under) else otherwise)


def _is_list(url: str) -> bool:
    return _name(urlsplit(url).path) == "secrets"


def _is_sent_from_itself(request: OperatorRequest) -> bool:
    """Whether the page that the browser shows is the form's own, and not one with a dialog over it."""
    shown = urlsplit(request.htmx.current_url_abs_path or "").path
    return shown == request.path or {_name(shown), _name(request.path)} == _ONE_PAGE


def _name(path: str) -> str:
    try:
        return str(resolve(path).url_name)
    except Resolver404:
        return ""
