"""Dependants: what runs as the account, which of it is given each new value, and Retry failed items."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from console import errors
from console.access import resources
from console.forms.secrets.dependants import Dependants
from console.http import OperatorRequest
from console.presentation import dependant_states
from console.sessions import fresh
from console.views import dialogs
from rotation import accounts, instance_checks, runs, tasks, wires
from rotation.inventory import patience
from rotation.managed import dependants
from rotation.models import ManagedAccount
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def choose(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.UPDATE_ROTATION)
    form = Dependants(request.POST if request.method == "POST" else None, account=_account(secret))
    if request.method == "GET" or not form.is_valid():
        return dialogs.ask(
            request, "secrets/_dependants_choice.html", "Dependants", _context(secret, region, form)
        )
    dependants.choose(secret, form.keys(), actor=request.principal, restarts=form.cleaned_data["restarts"])
    messages.success(request, "The dependants are saved.")
    return dialogs.leave(request, reverse("secret", args=[region, pk]))


@login_required
@require_POST
def look(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """Have the account looked at now: a check of its own, which changes nothing on the instance."""
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    account = _account(secret)
    resources.require(request, Action.CHECK_INSTANCE, account.instance)
    try:
        with transaction.atomic():
            run = instance_checks.check_account(
                account.instance, account.username, account.kind, actor=request.principal
            )
            tasks.wake(run)
    except patience.TooOften as error:
        return errors.too_often(request, str(error), error.again_at)
    return dialogs.leave(request, reverse("run", args=[region, run.pk]))


@login_required
@require_http_methods(["GET", "POST"])
def retry(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    listed = dependant_states.listed(_account(secret))
    if request.method == "GET":
        context = {"secret": secret, "region": region, "listed": listed}
        return dialogs.show(request, "secrets/_dependants_retry.html", "Retry failed items", context)
    try:
        with transaction.atomic():
            run = dependants.retry(secret, actor=request.principal)
            tasks.wake(run)
    except (runs.NotRotatable, runs.InProgress) as error:
        return errors.conflict(request, str(error))
    messages.success(request, "The failed items are retried.")
    return dialogs.leave(request, reverse("run", args=[region, run.pk]))


def _account(secret: Secret) -> ManagedAccount:
    account = accounts.needed(secret)
    if not wires.has_dependants(account.instance.wire):
        raise Http404
    return account


def _context(secret: Secret, region: str, form: Dependants) -> dict[str, object]:
    return {"secret": secret, "region": region, "form": form, "account": accounts.needed(secret)}
