"""How a user sees a list: the rows on a page and the columns, kept for that user."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from console.http import OperatorRequest
from console.lists import preferences
from console.lists.columns import LISTS


@login_required
@require_POST
def keep(request: OperatorRequest) -> HttpResponse:
    """Keep or reset it, and go back to the list. Needs no permission: each row is of its own user."""
    name, rows = request.POST.get("list", ""), request.POST.get("rows", "")
    if name in LISTS and "reset" in request.POST:
        preferences.reset(request.principal, name)
    elif name in LISTS and rows in map(str, preferences.SIZES):
        columns = request.POST.getlist("columns")
        preferences.keep(request.principal, name, rows=int(rows), columns=columns)
    back = request.POST.get("back", "")
    # With no host allowed, only a path of this site is.
    is_here = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_here and back.startswith("/") else "home")
