"""Check for drift (was the credential changed outside Keyturn?), and Reconcile."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from console import errors
from console.access import resources
from console.http import OperatorRequest
from console.views import dialogs
from rotation import runs, tasks
from secrets_app.models import Label
from secrets_app.policy.decisions import Action


@login_required
@require_POST
def check(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    try:
        with transaction.atomic():
            run = runs.drift(secret, actor=request.principal)
            tasks.wake(run)
    except runs.NotRotatable as error:
        return errors.conflict(request, str(error))
    return dialogs.leave(request, reverse("run", args=[region, run.pk]))


@login_required
@require_http_methods(["GET", "POST"])
def reconcile(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    if request.method == "GET":
        context = {"secret": secret, "region": region, "current": secret.labelled(Label.Role.CURRENT)}
        return dialogs.show(request, "secrets/_reconcile.html", "Reconcile", context)
    try:
        with transaction.atomic():
            run = runs.reconcile(secret, actor=request.principal)
            tasks.wake(run)
    except (runs.NotRotatable, runs.InProgress) as error:
        return errors.conflict(request, str(error))
    messages.success(request, "Reconciliation triggered.")
    return dialogs.leave(request, reverse("run", args=[region, run.pk]))
