"""What of the installation is away, for a page that stays open."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.process import away
from secrets_app.models import User


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """The banners of every page; 204 while nothing has changed, so that no reader is told twice."""
    if not isinstance(request.user, User):
        return HttpResponse(status=204)  # no 401: only an action of the user's opens sign-in over the page
    if request.GET.get("seen") == "".join(f"{part.name}." for part in away.parts()):
        return HttpResponse(status=204)
    return render(request, "_away.html")
