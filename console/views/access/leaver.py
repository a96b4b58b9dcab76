"""Rotate what a user knows: the secrets that they read or entered, and a rotation of each selected one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from console.access import resources, rights
from console.http import OperatorRequest
from console.reports.revealed import Known, known
from rotation import accounts, runs, tasks
from secrets_app.models import Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle

AT_ONCE = 500


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    person = rights.user(request, pk)
    resources.require(request, Action.LIST_EVENTS)  # the audit trail says what a user read
    revealed = known(person.principal)
    seen = [
        row for row in revealed if decisions.allows(request.principal, Action.DESCRIBE_SECRET, row.secret)
    ]
    if request.method == "POST":
        chosen = set(request.POST.getlist("secret"))
        _rotate(request, [row.secret for row in seen if str(row.secret.pk) in chosen])
        return redirect("user_revealed", pk=person.pk)
    context = {
        "person": person,
        "rows": [(row, _may_rotate(request, row)) for row in seen[:AT_ONCE]],
        "hidden": len(revealed) - len(seen),
        "left": max(len(seen) - AT_ONCE, 0),
        "open": sum(not row.is_over for row in seen),
    }
    return render(request, "access/revealed.html", context)


def _may_rotate(request: OperatorRequest, row: Known) -> bool:
    return row.secret.is_enabled and resources.may_of_account(request, Action.ROTATE_SECRET, row.secret)


def _rotate(request: OperatorRequest, secrets: list[Secret]) -> None:
    """Start a rotation for each, and say for which it was refused; one refusal stops no other."""
    started = 0
    for secret in secrets[:AT_ONCE]:
        try:
            with transaction.atomic():
                tasks.wake(runs.start(secret, actor=request.principal))
            started += 1
        except (
            decisions.NotAllowed,
            runs.InProgress,
            runs.NotRotatable,
            accounts.Unmanaged,
            lifecycle.NotEnabled,
        ) as error:
            if isinstance(error, decisions.NotAllowed):
                resources.refused(request, error)
            messages.warning(request, f"{secret.name} is not rotated. {error}")
    if started:
        messages.success(request, f"{started} rotation{'' if started == 1 else 's'} started.")
    elif not secrets:
        messages.warning(request, "Choose at least one secret.")
