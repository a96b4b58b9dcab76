"""An older database that was restored: what that means, Verify all, and Acknowledge the restore."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.audit.restored_database import Acknowledge
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import tasks
from rotation.managed import restored
from secrets_app.integrity import restores
from secrets_app.models import DatabaseRestore
from secrets_app.policy.decisions import Action

TITLE = "Acknowledge the restore"


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.LIST_EVENTS)
    may = resources.may(request, Action.ACKNOWLEDGE_RESTORE)
    return render(request, "audit/restore.html", {**_state(restores.newest()), "may_acknowledge": may})


@login_required
@require_safe
def progress(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.LIST_EVENTS)
    return render(request, "audit/_restore_progress.html", _state(restores.newest()))


def _state(restore: DatabaseRestore | None) -> dict[str, object]:
    """What the page and the part of it that refreshes itself show."""
    if restore is None:
        return {"restore": None}
    done, total = restored.progress(restore)
    return {
        "restore": restore,
        "done": done,
        "total": total,
        "percent": done * 100 // total if total else 100,
        "is_running": bool(restore.verify_asked_at and not restore.verified_at and done < total),
    }


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def acknowledge(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.ACKNOWLEDGE_RESTORE)
    restore = restores.under_way()
    if restore is None:
        return errors.conflict(request, "No restored database waits to be acknowledged.")
    form = Acknowledge(request.POST if request.method == "POST" else None)
    if request.method == "GET" or not form.is_valid():
        return _ask(request, restore, form)
    try:
        restores.acknowledge(restore, actor=request.principal, reason=form.cleaned_data["reason"])
    except restores.Nothing:
        return errors.conflict(request, "Another user has acknowledged this restore.")
    except OSError as error:
        form.add_error(None, f"{settings.AUDIT_EXPORT_FILE} cannot be read: {error.strerror}.")
        return _ask(request, restore, form, status=409)
    messages.success(request, "The restore is acknowledged. Rotations continue.")
    return dialogs.leave(request, reverse("restore"))


def _ask(
    request: OperatorRequest, restore: DatabaseRestore, form: Acknowledge, status: int = 0
) -> HttpResponse:
    status = status or (422 if request.method == "POST" else 200)
    context = {"restore": restore, "form": form}
    return dialogs.show(request, "audit/_acknowledge.html", TITLE, context, status=status)


@login_required
@require_POST
@fresh.required(back="restore")
def verify_all(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.ACKNOWLEDGE_RESTORE)
    restore = restores.newest()
    if restore is None:
        return errors.conflict(request, "No older database was restored.")
    restores.ask_to_verify(restore, actor=request.principal)
    transaction.on_commit(lambda: tasks.send(tasks.look_for_restore))
    messages.success(request, "Every account is being verified.")
    return redirect("restore")
