"""Edit a secret: description, tags, password policy, options; never its name, instance or user."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console import access, fresh
from console.forms import options
from console.forms.secret_edit import Edit
from console.http import OperatorRequest
from console.views import dialogs
from rotation import managed
from secrets_app import lifecycle
from secrets_app.models import AuditEvent, Secret
from secrets_app.policies import Action


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def edit(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = access.secret(request, region, pk, Action.UPDATE_SECRET)
    may_choose = access.may(request, Action.UPDATE_ROTATION, secret)
    form = Edit(request.POST if request.method == "POST" else None, secret=secret, has_options=may_choose)
    if request.method == "GET":
        return _ask(request, secret, region, form)
    if not form.is_valid():
        return _ask(request, secret, region, form, status=422)
    try:
        _save(request, secret, form)
    except lifecycle.Outdated:
        return _outdated(request, secret, region)
    messages.success(request, f"{secret.name} is saved.")
    return dialogs.leave(request, reverse("secret", args=[region, secret.pk]))


def _save(request: OperatorRequest, secret: Secret, form: Edit) -> None:
    with transaction.atomic():
        lifecycle.edit(
            secret,
            revision=form.cleaned_data["revision"],
            description=form.cleaned_data["description"],
            tags=form.cleaned_data["tags"],
            password_policy=form.policy(),
            actor=request.principal,
        )
        if form.has_options and form.chosen_options() != options.shown(secret.managed):
            managed.change_options(secret, actor=request.principal, **form.chosen_options())


def _outdated(request: OperatorRequest, secret: Secret, region: str) -> HttpResponse:
    """Keep what was typed, say who changed what, and let it be sent again on what is true now."""
    secret.refresh_from_db(fields=["description", "password_policy", "revision"])
    typed = request.POST.copy()
    typed["revision"] = str(secret.revision)
    changes = AuditEvent.objects.filter(resource_id=secret.pk, action=Action.UPDATE_SECRET)
    changed = changes.filter(outcome=AuditEvent.Outcome.SUCCEEDED).first()
    again = Edit(typed, secret=secret, has_options=access.may(request, Action.UPDATE_ROTATION, secret))
    return _ask(request, secret, region, again, status=409, changed=changed)


def _ask(
    request: OperatorRequest,
    secret: Secret,
    region: str,
    form: Edit,
    status: int = 200,
    changed: AuditEvent | None = None,
) -> HttpResponse:
    context = {
        "secret": secret,
        "region": region,
        "form": form,
        "is_outdated": status == 409,
        "changed": changed,
        "now_tags": secret.tags.all(),
    }
    return dialogs.show(request, "secrets/_edit.html", "Edit secret", context, status=status)
