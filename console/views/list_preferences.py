"""How a user sees a list: the rows on a page, their height and the columns, kept for that user."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from console.http import OperatorRequest
from console.lists import preferences
from console.lists.columns import LISTS
from console.views import dialogs


@login_required
@require_http_methods(["GET", "POST"])
def keep(request: OperatorRequest) -> HttpResponse:
    """Ask for it; then keep or reset it, and go back to the list.

    Needs no permission: each row is of its own user.
    """
    if request.method == "GET":
        return _ask(request)
    name, rows = request.POST.get("list", ""), request.POST.get("rows", "")
    if name in LISTS and "reset" in request.POST:
        preferences.reset(request.principal, name)
    elif name in LISTS and rows in map(str, preferences.SIZES):
        preferences.keep(
            request.principal,
            name,
            rows=int(rows),
            columns=request.POST.getlist("columns"),
            is_compact=request.POST.get("density") == "compact",
        )
    back = request.POST.get("back", "")
    return dialogs.leave(request, back if _is_here(back) else reverse("home"))


def _ask(request: OperatorRequest) -> HttpResponse:
    name = request.GET.get("list", "")
    if name not in LISTS:
        raise Http404
    context = {"shown": preferences.of(request.principal, name), "back": request.GET.get("back", "")}
    return dialogs.show(request, "_list_shown.html", "Columns and rows", context)


def _is_here(back: str) -> bool:
    """Whether `back` is a path of this site."""
    # With no host allowed, only a path of this site is.
    is_here = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return is_here and back.startswith("/")
