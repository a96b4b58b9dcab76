"""Configuration rotation: turn on and off, period, pause and resume, the next date."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from console import access
from console.forms.schedule import Rotation
from console.forms.wizard import Period
from console.http import OperatorRequest
from console.views import dialogs
from rotation import schedules
from rotation.models import Schedule
from secrets_app.models import AuditEvent, Secret
from secrets_app.policies import Action


@login_required
@require_http_methods(["GET", "POST"])
def change(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = access.secret(request, region, pk, Action.UPDATE_ROTATION)
    plan = secret.schedule
    form = Rotation(request.POST if request.method == "POST" else None, plan=plan)
    if request.method == "GET":
        return _ask(request, secret, region, form)
    if not form.is_valid():
        return _ask(request, secret, region, form, status=422)
    try:
        saved = _save(request, secret, plan, form)
    except schedules.BadDate as error:
        form.add_error("next_at", str(error))
        return _ask(request, secret, region, form, status=422)
    except schedules.Outdated:
        return _outdated(request, secret, region)
    messages.success(request, _told(secret, saved))
    return dialogs.leave(request, reverse("secret", args=[region, secret.pk]))


def _save(request: OperatorRequest, secret: Secret, plan: Schedule, form: Rotation) -> Schedule:
    return schedules.change(
        secret,
        revision=form.cleaned_data["revision"],
        is_on=form.is_on,
        period=form.length_of_period if form.is_on else plan.period,
        is_paused=form.cleaned_data["is_paused"],
        next_at=form.chosen_date,
        actor=request.principal,
    )


def _told(secret: Secret, plan: Schedule) -> str:
    if not plan.is_on:
        return f"Automatic rotation of {secret.name} is off."
    if plan.paused_at:
        return f"Automatic rotation of {secret.name} is paused."
    return f"{secret.name} rotates by itself; next on {timezone.localtime(plan.next_at):%Y-%m-%d %H:%M %Z}."


def _outdated(request: OperatorRequest, secret: Secret, region: str) -> HttpResponse:
    """Keep what was typed, say who changed what, and let it be sent again on what is true now."""
    plan = Schedule.objects.get(secret=secret)
    typed = request.POST.copy()
    typed["revision"] = str(plan.revision)
    changes = AuditEvent.objects.filter(resource_id=secret.pk, action=Action.UPDATE_ROTATION)
    changed = changes.filter(outcome=AuditEvent.Outcome.SUCCEEDED).first()
    context = {"plan": plan, "is_outdated": True, "changed": changed}
    return _ask(request, secret, region, Rotation(typed, plan=plan), status=409, **context)


def _ask(
    request: OperatorRequest,
    secret: Secret,
    region: str,
    form: Rotation,
    status: int = 200,
    **more: object,
) -> HttpResponse:
    context = {
        "secret": secret,
        "region": region,
        "form": form,
        "plan": secret.schedule,
        "presets": schedules.PRESETS_DAYS,
        "dates": schedules.preview(timezone.now(), secret.schedule.period),
        **more,
    }
    return dialogs.show(request, "secrets/_schedule.html", "Configuration rotation", context, status=status)


@login_required
@require_safe
def dates(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The next five dates of a period that is being typed."""
    access.secret(request, region, pk, Action.UPDATE_ROTATION)
    form = Period(request.GET)
    form.is_valid()
    context = {
        "dates": schedules.preview(timezone.now(), form.length_of_period) if not form.errors else [],
        "period_errors": form.errors.get("period", []),
    }
    return render(request, "secrets/_wizard_dates.html", context)
