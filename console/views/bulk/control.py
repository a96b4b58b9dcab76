"""Pause, resume and cancel a background action, by the user who confirmed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from console import errors
from console.http import OperatorRequest
from console.presentation import bulk_states
from console.views import dialogs
from rotation.bulk import bulk_actions
from rotation.models import BulkAction
from secrets_app.policy.requiring import NotFound

PAUSED = "No further row is begun until you choose Resume. Rows that are under way continue."


@login_required
@require_POST
def pause(request: OperatorRequest, pk: UUID) -> HttpResponse:
    return _do(request, _own(request, pk), bulk_actions.pause, PAUSED)


@login_required
@require_POST
def resume(request: OperatorRequest, pk: UUID) -> HttpResponse:
    return _do(request, _own(request, pk), bulk_actions.resume, "The action continues.")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: OperatorRequest, pk: UUID) -> HttpResponse:
    bulk = _own(request, pk)
    if request.method == "POST":
        said = "The action is cancelled. The list shows what was done and what was not."
        return _do(request, bulk, bulk_actions.cancel, said)
    items = bulk_actions.seen_items(request.principal, [bulk])
    counted = bulk_states.progress_of(items).get(bulk.pk, bulk_states.NONE)
    counts = {result.name: result.count for result in counted.results}
    context = {
        "bulk": bulk,
        "done": counted.done,
        "waiting": counts.get("waiting", 0),
        "active": counts.get("active", 0),
        "thing": "run" if bulk.action == BulkAction.Action.RETRY else "secret",
    }
    return dialogs.show(request, "bulk/_cancel.html", f"Cancel {bulk.get_action_display()}", context)


def _own(request: OperatorRequest, pk: UUID) -> BulkAction:
    bulk = bulk_actions.of(request.principal).filter(pk=pk).first()
    if bulk is None:
        raise NotFound
    return bulk


def _do(request: OperatorRequest, bulk: BulkAction, change: Callable[..., Any], said: str) -> HttpResponse:
    try:
        change(bulk, actor=request.principal)
    except bulk_actions.Over as error:
        return errors.conflict(request, str(error), title="This action has ended")
    messages.success(request, said)
    return dialogs.leave(request, reverse("bulk_action", args=[bulk.pk]))
