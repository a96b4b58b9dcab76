"""Background actions: a user's own, one of them with its rows, and the bell in the top bar."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from console.lists import paging
from console.presentation import bulk_states
from console.presentation.secret_states import Fact
from rotation.bulk import bulk_actions
from rotation.models import BulkAction, BulkItem
from secrets_app.policy.decisions import Action
from secrets_app.policy.requiring import NotFound


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    page = paging.page(
        bulk_actions.of(request.principal), request.GET, sorts={"started": "created_at"}, default="-started"
    )
    known = bulk_states.progress_of(bulk_actions.seen_items(request.principal, page.rows))
    rows = [(row, known.get(row.pk, bulk_states.NONE)) for row in page.rows]
    context = {"heading": "Background actions", "things": "background actions", "page": page, "rows": rows}
    return render(request, "bulk/list.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    return render(request, "bulk/bulk_action.html", _context(request, pk))


@login_required
@require_safe
def progress(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """The part of the page that follows the action; it asks no more once that has ended."""
    return render(request, "bulk/_progress.html", _context(request, pk))


@login_required
@require_safe
def bell(request: OperatorRequest) -> HttpResponse:
    return render(request, "bulk/_bell.html")


def _context(request: OperatorRequest, pk: UUID) -> dict[str, object]:
    bulk = bulk_actions.of(request.principal).filter(pk=pk).first()
    if bulk is None:
        raise NotFound
    items = bulk_actions.seen_items(request.principal, [bulk])
    counted = bulk_states.progress_of(items).get(bulk.pk, bulk_states.NONE)
    result = request.GET.get("result", "")
    if result not in bulk_states.RESULTS:
        result = ""
    page = paging.page(
        bulk_states.with_result(items, result) if result else items,
        request.GET,
        sorts={"number": "number"},
        default="number",
        read=bulk_actions.shown_items,
    )
    if bulk.ended_at and request.method == "GET":
        bulk_actions.note_seen(bulk)
    return {
        "bulk": bulk,
        "progress": counted,
        "result": result,
        "page": page,
        "rows": [_row(request, item) for item in page.rows],
        "is_running": _moves(bulk, counted),
        "may_change": bulk.ended_at is None and bulk.cancelled_at is None,
        "may_retry": bulk.ended_at is not None and counted.failed,
        "is_of_runs": bulk.action == BulkAction.Action.RETRY,
    }


def _moves(bulk: BulkAction, counted: bulk_states.Progress) -> bool:
    """Whether the page follows it: not while it is paused with nothing under way."""
    if bulk.paused_at:
        return any(result.name == "active" for result in counted.results)
    return bulk.ended_at is None


def _row(request: OperatorRequest, item: BulkItem) -> tuple[BulkItem, Fact, bool]:
    """A row, how it stands, and whether its run may be opened."""
    may_open = item.run is not None and resources.may(request, Action.DESCRIBE_RUN, item.run)
    return item, bulk_states.item_badge(item, shows_run=may_open), may_open
