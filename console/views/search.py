"""The search of the top bar: what it finds while one types, and the same as a page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.http import OperatorRequest
from console.lists import search


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    text = search.tidied(request.GET.get("q", ""))
    context = {
        "text": text,
        "typed": request.GET.get("q", "")[: search.LONGEST],
        "groups": search.groups(request, text) if text else [],
        "shortest": search.SHORTEST,
        "longest": search.LONGEST,
    }
    return render(request, "search/_box.html" if request.htmx else "search/page.html", context)
