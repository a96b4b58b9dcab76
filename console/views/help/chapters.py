"""The help: its chapters and their search. For all users: it shows nothing of the store."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.help import chapters, search
from console.http import OperatorRequest


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    context = {"chapters": chapters.CHAPTERS, "found": search.find(request.GET.get("q", ""))}
    return render(request, "help/index.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, chapter: str) -> HttpResponse:
    if chapter not in chapters.BY_NAME:
        raise Http404
    shown = chapters.BY_NAME[chapter]
    context = {"chapters": chapters.CHAPTERS, "chapter": shown, "document": shown.document}
    return render(request, "help/chapter.html", context, status=200 if shown.document else 404)
