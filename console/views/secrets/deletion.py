"""Delete Secret and Restore Secret: what will happen is said first, then the domain does it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets.deletion import Delete
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import accounts, cancelling, tasks
from rotation.managed import creation, deletion
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def delete(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.DELETE_SECRET)
    form = Delete(request.POST if request.method == "POST" else None, secret_name=secret.name)
    if request.method == "GET":
        return _ask(request, secret, region, form)
    if not form.is_valid():
        return _ask(request, secret, region, form, status=422)
    try:
        _delete(request, secret, form)
    except (cancelling.TooLate, deletion.IsLogin) as error:
        form.add_error(None, str(error))
        return _ask(request, secret, region, form, status=409)
    return dialogs.back(request, reverse("secret", args=[region, secret.pk]))


def _delete(request: OperatorRequest, secret: Secret, form: Delete) -> None:
    reason = form.cleaned_data["reason"]
    if form.is_immediate:
        deletion.purge(secret, actor=request.principal, reason=reason)
        kept = " Nothing was changed on the instance." if accounts.of(secret) else ""
        messages.success(request, f"{secret.name} is deleted.{kept}")
        return
    days = form.cleaned_data["days"]
    deletion.plan_deletion(secret, actor=request.principal, days=days, reason=reason)
    messages.success(request, f"{secret.name} is pending deletion. It can be restored for {days} days.")


def _ask(
    request: OperatorRequest, secret: Secret, region: str, form: Delete, status: int = 200
) -> HttpResponse:
    active = secret.runs.active().select_related("requested_by")
    context = {"secret": secret, "region": region, "form": form, "active": active}
    return dialogs.show(request, "secrets/_delete.html", "Delete Secret", context, status=status)


@login_required
@require_http_methods(["GET", "POST"])
def restore(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.RESTORE_SECRET)
    if not secret.is_pending_deletion:
        why = lifecycle.why_not_enabled(secret) if secret.purged_at else str(lifecycle.NotPending.__doc__)
        return errors.conflict(request, why)
    if request.method == "GET":
        context = {"secret": secret, "region": region}
        return dialogs.show(request, "secrets/_restore.html", "Restore Secret", context)
    try:
        with transaction.atomic():
            restored = deletion.restore(secret, actor=request.principal)
            if restored.run:
                tasks.wake(restored.run)
    except (creation.AccountTaken, lifecycle.NotPending) as error:
        return errors.conflict(request, str(error), title="This secret cannot be restored now")
    messages.success(request, _sentence(secret, restored))
    return dialogs.back(request, reverse("secret", args=[region, secret.pk]))


def _sentence(secret: Secret, restored: deletion.Restored) -> str:
    said = [f"{secret.name} is restored."]
    if restored.next_at:
        missed = "The rotation that was due in the meantime was skipped; the" if restored.was_due else "The"
        said.append(f"{missed} next one is on {_local(restored.next_at)}.")
    if restored.run:
        said.append("Keyturn is checking on the instance whether the value is still valid.")
    return " ".join(said)


def _local(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M %Z}"
