"""Rotate what a user knows: the secrets that they read or entered, and a rotation of each selected one."""

from __future__ import annotations

from uuid import UUID, uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from console.access import resources, rights
from console.http import OperatorRequest
from console.reports.revealed import Known, known
from rotation import tasks
from rotation.bulk import bulk_actions, deeds
from rotation.models import BulkAction
from secrets_app.models import User
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

AT_ONCE = bulk_actions.MOST


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
        return _rotate(request, person, [row.secret.pk for row in seen if str(row.secret.pk) in chosen])
    context = {
        "person": person,
        "rows": [(row, _may_rotate(request, row)) for row in seen[:AT_ONCE]],
        "hidden": len(revealed) - len(seen),
        "left": max(len(seen) - AT_ONCE, 0),
        "open": sum(not row.is_over for row in seen),
        "token": uuid4().hex,
    }
    return render(request, "access/revealed.html", context)


def _may_rotate(request: OperatorRequest, row: Known) -> bool:
    return row.secret.is_enabled and resources.may_of_account(request, Action.ROTATE_SECRET, row.secret)


def _rotate(request: OperatorRequest, person: User, secrets: list[UUID]) -> HttpResponse:
    """Have workers rotate these, each by its own right, and show how far they are."""
    if not secrets:
        messages.warning(request, "Choose at least one secret.")
        return redirect("user_revealed", pk=person.pk)
    kind = BulkAction.Action.ROTATE
    resources.require(request, deeds.RIGHTS[kind])
    with transaction.atomic():
        bulk = bulk_actions.start(kind, secrets[:AT_ONCE], actor=request.principal, token=_token(request))
        tasks.wake_bulk(bulk)
    return redirect("bulk_action", pk=bulk.pk)


def _token(request: OperatorRequest) -> str:
    """What makes the same press twice one action; a new one where the page sent none that can be one."""
    given = request.POST.get("token", "")
    return given if given.isascii() and given.isalnum() and len(given) <= 64 else uuid4().hex
