"""The access review, for those who may see the users and the policies that it speaks of."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import prefetch_related_objects
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import rights
from console.http import OperatorRequest
from console.lists import paging
from console.reports import access_review
from secrets_app.policy import ram_documents, reach


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    rows = rights.reviewed_secrets(request)
    text = request.GET.get("q", "")[:200].replace("\0", "")
    page = paging.page(rows, request.GET, sorts={"name": "name"}, default="name")
    prefetch_related_objects(page.rows, "tags", "region__account")
    shown = set(rights.seen_policies(request).values_list("pk", flat=True))
    names = rights.ShownNames(request)
    context = {
        "page": page,
        "text": text,
        "readers": access_review.readers(page.rows, names.shows),
        "wildcards": [
            (statement, _line(statement)) for statement in reach.wildcards() if statement.policy.pk in shown
        ],
        "unused": access_review.unused(request.principal, names.name),
        "days": reach.UNUSED_AFTER.days,
    }
    return render(request, "access/review.html", context)


def _line(wildcard: reach.Wildcard) -> int:
    return ram_documents.lines_of(wildcard.policy.document, wildcard.number).start
