"""Runs: the history over all secrets and instances, and one run with its steps as they happen."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import prefetch_related_objects
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.rotations import rotations as forms
from console.http import OperatorRequest
from console.lists import paging, preferences, run_filters
from console.presentation import run_states
from console.presentation.run_states import is_retryable
from console.views import dialogs
from rotation import retrying, runs, tasks
from rotation.inventory import patience
from rotation.models import Run
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def index(request: OperatorRequest, region: str) -> HttpResponse:
    rows = resources.runs(request, region)
    filters = forms.Filters(request.GET)
    matching = run_filters.narrowed(rows, filters.chosen())
    shown = preferences.of(request.principal, "rotations")
    context = {
        "heading": "Rotations",
        "things": "runs",
        "region": region,
        "page": paging.page(
            matching,
            request.GET,
            sorts=run_filters.SORTS,
            default="-started",
            read=run_filters.shown,
            size=shown.rows,
        ),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_rotate": resources.may(request, Action.ROTATE_SECRET),
    }
    return render(request, "rotations/list.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    run = resources.run(request, region, pk)
    prefetch_related_objects([run], "steps")
    return render(request, "rotations/run.html", {"run": run, "region": region})


@login_required
@require_safe
def steps(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The run's steps, for a page that follows it; 204 while nothing has changed."""
    run = resources.run(request, region, pk)
    prefetch_related_objects([run], "steps")
    if request.GET.get("seen") == run_states.mark(run):
        return HttpResponse(status=204)
    here = request.GET.get("here", "")  # the page that holds this fragment, if it is the secret's own
    response = render(request, "rotations/_run.html", {"run": run, "region": region, "here": here[:10]})
    if not run.is_active:
        # Only a page that followed the run asks, and it asks no more after this.
        response["HX-Trigger"] = json.dumps({"toast": _toast(run), "runEnded": {"run": str(run.pk)}})
    return response


def _toast(run: Run) -> dict[str, str]:
    state = run_states.run_badge(run)
    tone = "info" if state.tone == "muted" else state.tone
    return {"tone": tone, "text": f"{run.label}: {state.label}."}


@login_required
@require_POST
def retry(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    run = resources.run(request, region, pk)
    if not is_retryable(run):
        return errors.conflict(request, "Only a run that ended without success can be retried.")
    if run.secret is None:
        resources.instance(request, region, run.instance.pk, Action.CHECK_INSTANCE)
    else:
        resources.secret(request, region, run.secret.pk, Action.ROTATE_SECRET)
    try:
        with transaction.atomic():
            again = retrying.retry(run, actor=request.principal)
            tasks.wake(again)
    except (runs.NotRotatable, runs.InProgress) as error:
        return errors.conflict(request, str(error))
    except patience.TooOften as error:
        return errors.too_often(request, str(error), error.again_at)
    return dialogs.leave(request, reverse("run", args=[region, again.pk]))
