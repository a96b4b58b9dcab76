"""Resolve: a person says what became of a value that the instance was told and does not confirm."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets import resolve as forms
from console.http import OperatorRequest
from console.reports.resolving import Open, unresolved
from console.sessions import fresh
from console.views import dialogs
from rotation import runs, tasks
from rotation.managed import resolution
from rotation.models import Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action

DECISIONS: Final = {
    forms.GONE: resolution.Decision.GONE,
    forms.SET_ASIDE: resolution.Decision.SET_ASIDE,
}
TOLD: Final = {
    forms.AGAIN: "The instance is being checked again.",
    forms.GONE: "The instance is recorded as gone. Every value is kept; the secret can be deleted now.",
    forms.SET_ASIDE: "The new value is set aside and kept; Keyturn is verifying the current one.",
}


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def resolve(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.RESOLVE_ROTATION)
    open_version = unresolved(secret)
    if open_version is None:
        return errors.conflict(request, "The state of this secret is no longer uncertain.")
    form = forms.Resolve(request.POST or None, has_pending=open_version.pending is not None)
    if request.method == "GET" or not form.is_valid():
        return _ask(
            request, region, secret, open_version, form, status=200 if request.method == "GET" else 422
        )
    decision = form.cleaned_data["decision"]
    try:
        _carry_out(request, secret, open_version, decision, form.cleaned_data["reason"])
    except runs.NoReason as error:
        form.add_error("reason", str(error))
        return _ask(request, region, secret, open_version, form, status=422)
    except (runs.NotRotatable, runs.InProgress) as error:
        return errors.conflict(request, str(error))
    messages.success(request, TOLD[decision])
    return dialogs.leave(request, reverse("secret", args=[region, secret.pk]))


def _carry_out(
    request: OperatorRequest, secret: Secret, open_version: Open, decision: str, reason: str
) -> None:
    if decision in DECISIONS:
        with transaction.atomic():
            resolution.resolve(secret, actor=request.principal, decision=DECISIONS[decision], reason=reason)
            for run in secret.runs.active():
                tasks.wake(run)
        return
    resources.require(request, Action.ROTATE_SECRET, secret)
    with transaction.atomic():
        # A rotation begins by asking which value works; one that waits is told to go on now.
        tasks.wake(runs.start(secret, actor=request.principal, trigger=Run.Trigger.RETRY, reason=reason))


def _ask(
    request: OperatorRequest,
    region: str,
    secret: Secret,
    open_version: Open,
    form: forms.Resolve,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {"secret": secret, "region": region, "form": form, "open_version": open_version}
    return dialogs.show(request, "secrets/_resolve.html", "Resolve", context, status=status)
