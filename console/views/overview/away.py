"""What of the installation is away, for a page that stays open."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.http import OperatorRequest
from console.process import away


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    """The banners of every page; 204 while nothing has changed, so that no reader is told twice."""
    if request.GET.get("seen") == "".join(f"{part.name}." for part in away.parts()):
        return HttpResponse(status=204)
    return render(request, "_away.html")
