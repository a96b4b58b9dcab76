"""Configuration rotation: turn on and off, period, pause and resume, the next date."""

from __future__ import annotations

from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources
from console.forms.secrets.schedule import (
    CRON_PRESETS,
    DEFAULT_JITTER,
    DEFAULT_PERIOD,
    RecurrenceForm,
    Rotation,
)
from console.http import OperatorRequest
from console.presentation import secret_states
from console.views import dialogs
from rotation import missed, schedules
from rotation.models import Schedule
from rotation.recurrence import Recurrence
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "POST"])
def change(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.UPDATE_ROTATION)
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
    messages.success(request, _sentence(secret, saved))
    return dialogs.back(request, reverse("secret", args=[region, secret.pk]))


def _save(request: OperatorRequest, secret: Secret, plan: Schedule, form: Rotation) -> Schedule:
    recurrence = form.chosen if form.is_on else schedules.recurrence_of(plan)
    return schedules.change(
        secret,
        revision=form.cleaned_data["revision"],
        is_on=form.is_on,
        period=recurrence.period,
        cron=recurrence.cron,
        zone=recurrence.zone,
        jitter=recurrence.jitter,
        catch_up=form.after_downtime if form.is_on else plan.catch_up,
        is_paused=form.cleaned_data["is_paused"],
        next_at=form.chosen_date,
        actor=request.principal,
    )


def _sentence(secret: Secret, plan: Schedule) -> str:
    if not plan.is_on:
        return f"Automatic rotation of {secret.name} is off."
    if plan.paused_at:
        return f"Automatic rotation of {secret.name} is paused."
    return (
        f"{secret.name} rotates automatically, next on {timezone.localtime(plan.next_at):%Y-%m-%d %H:%M %Z}."
    )


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
        "cron_presets": CRON_PRESETS,
        "often": secret_states.often(secret.schedule),
        "missed": missed.last(secret),
        **preview(RecurrenceForm(form.data) if form.is_bound else schedules.recurrence_of(secret.schedule)),
        **more,
    }
    return dialogs.show(request, "secrets/_schedule.html", "Configuration rotation", context, status=status)


@login_required
@require_safe
def dates(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The next five dates of the times that are being typed."""
    resources.secret(request, region, pk, Action.UPDATE_ROTATION)
    return render(request, "secrets/_wizard_dates.html", preview(RecurrenceForm(request.GET)))


def preview(wanted: RecurrenceForm | Recurrence | None) -> dict[str, object]:
    """Context for the next five dates of a recurrence or of a form; by default, of a new schedule."""
    recurrence = (
        wanted if isinstance(wanted, Recurrence) else Recurrence(DEFAULT_PERIOD, jitter=DEFAULT_JITTER)
    )
    if isinstance(wanted, RecurrenceForm):
        if not wanted.is_valid():
            return {
                "dates": [],
                "wrong": [
                    error for messages_of_field in wanted.errors.values() for error in messages_of_field
                ],
            }
        recurrence = wanted.chosen
    # Times of a cron are shown as they were written: where they are local.
    place = ZoneInfo(recurrence.zone) if recurrence.cron else timezone.get_current_timezone()
    dates = [date.astimezone(place) for date in recurrence.dates(schedules.now())]
    return {"dates": [(date, date + recurrence.jitter) for date in dates], "recurrence": recurrence}
