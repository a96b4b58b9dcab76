"""Edit a secret: description, tags, password policy, options, reminder; never its name, instance or user."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources
from console.forms.secrets import options
from console.forms.secrets.secret_edit import Edit
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import accounts
from rotation.managed import rotation_options
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def edit(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.UPDATE_SECRET)
    form = _form(request, secret, request.POST if request.method == "POST" else None)
    if request.method == "GET":
        return _ask(request, secret, region, form)
    if not form.is_valid():
        return _ask(request, secret, region, form, status=422)
    try:
        _save(request, secret, form)
    except lifecycle.Outdated:
        return _outdated(request, secret, region)
    except lifecycle.Widens as error:
        resources.refused(request, error)
        form.add_error("tags", str(error))
        return _ask(request, secret, region, form, status=422)
    messages.success(request, f"{secret.name} is saved.")
    return dialogs.back(request, reverse("secret", args=[region, secret.pk]))


def _form(request: OperatorRequest, secret: Secret, sent: QueryDict | None) -> Edit:
    """The form, with what this person has another right for than for the rest of it."""
    return Edit(
        sent,
        secret=secret,
        has_options=resources.may_of_account(request, Action.UPDATE_ROTATION, secret),
        has_tags=any(resources.may(request, a, secret) for a in (Action.TAG_RESOURCE, Action.UNTAG_RESOURCE)),
    )


def _save(request: OperatorRequest, secret: Secret, form: Edit) -> None:
    with transaction.atomic():
        lifecycle.edit(
            secret,
            revision=form.cleaned_data["revision"],
            description=form.cleaned_data["description"],
            tags=form.cleaned_data.get("tags"),
            password_policy=form.policy(),
            actor=request.principal,
            reminder_days=form.reminder_days if form.has_reminder else None,
        )
        if form.has_options and form.chosen_options() != options.shown(accounts.needed(secret)):
            rotation_options.change_options(secret, actor=request.principal, **form.chosen_options())


def _outdated(request: OperatorRequest, secret: Secret, region: str) -> HttpResponse:
    """Keep what was typed, say who changed what, and let it be sent again on what is true now."""
    secret.refresh_from_db(fields=["description", "password_policy", "reminder_days", "revision"])
    typed = request.POST.copy()
    typed["revision"] = str(secret.revision)
    changes = AuditEvent.objects.filter(resource_id=secret.pk, action=Action.UPDATE_SECRET)
    changed = changes.filter(outcome=AuditEvent.Outcome.SUCCEEDED).first()
    return _ask(request, secret, region, _form(request, secret, typed), status=409, changed=changed)


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
