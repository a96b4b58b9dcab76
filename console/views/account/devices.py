"""Your sessions, the sessions of another user, and the reset of a second factor."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.account.second_factor import Reset
from console.http import OperatorRequest
from console.sessions import devices, fresh
from console.sign_in import failed_sign_ins
from console.views import dialogs
from secrets_app.actions import Action
from secrets_app.models import User
from secrets_app.people import second_factors
from secrets_app.policy import decisions

FAILED_SHOWN = 50


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    """The user's own sessions, and failed sign-ins with their name."""
    context = {
        "rows": devices.open_of(request.user, this=request.session.session_key),
        "who": request.user,
        "is_own": True,
        "failed": failed_sign_ins.of(request.user)[:FAILED_SHOWN],
        "failed_days": failed_sign_ins.SHOWN_DAYS,
    }
    return render(request, "account/sessions.html", context)


@login_required
@require_POST
def end(request: OperatorRequest, pk: int) -> HttpResponse:
    """End one of the user's own sessions; another user's session is not found."""
    if not devices.end(request.user, [pk], actor=request.principal):
        raise Http404
    return redirect("sessions")


@login_required
@require_POST
def end_others(request: OperatorRequest) -> HttpResponse:
    """End all of one's own but this one."""
    devices.end_all(request.user, actor=request.principal, but=request.session.session_key)
    return redirect("sessions")


@login_required
@require_safe
def of_user(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """The sessions of another user."""
    who = _person(request, pk)
    context = {
        "rows": devices.open_of(who, this=request.session.session_key),
        "who": who,
        "may_end": resources.may(request, Action.UPDATE_USER, second_factors.person(who)),
        "may_reset": resources.may(request, Action.RESET_SECOND_FACTOR, second_factors.person(who)),
        "has_factor": second_factors.has_one(who),
    }
    return render(request, "account/sessions.html", context)


@login_required
@require_POST
def end_of_user(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """End every session of a person."""
    who = _person(request, pk)
    resources.require(request, Action.UPDATE_USER, second_factors.person(who))
    devices.end_all(who, actor=request.principal)
    return redirect("user_sessions", pk=who.pk)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def reset_factor(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """Remove every second factor of another user, and end their sessions."""
    who = _person(request, pk)
    resources.require(request, Action.RESET_SECOND_FACTOR, second_factors.person(who))
    if who == request.user:
        return errors.conflict(request, str(second_factors.Own.__doc__))
    form = Reset(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        context = {"form": form, "who": who}
        return dialogs.ask(request, "account/_reset_second_factor.html", "Reset second factor", context)
    reason = form.cleaned_data["reason"]
    with transaction.atomic():
        second_factors.reset(who, actor=request.principal, reason=reason)
        devices.end_all(who, actor=request.principal, reason=reason)
    return dialogs.leave(request, reverse("user_sessions", kwargs={"pk": who.pk}))


def _person(request: OperatorRequest, pk: UUID) -> User:
    who = User.objects.filter(pk=pk).first()
    if who is None or not decisions.allows(
        request.principal, Action.DESCRIBE_USER, second_factors.person(who)
    ):
        raise Http404
    return who
