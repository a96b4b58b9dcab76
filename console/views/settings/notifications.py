"""Notifications: who is told what, what became of each message, and the mails of one's own."""

from __future__ import annotations

import uuid
from uuid import UUID

from django.contrib import messages as shown_messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.settings import notifications as forms
from console.http import OperatorRequest
from console.lists import paging
from console.models import Delivery, Subscription
from console.notices import addresses, deliveries, kinds, messages, sending, subscriptions, webhooks
from console.sessions import fresh
from console.views import dialogs
from secrets_app import seals
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.policy.decisions import Action
from secrets_app.policy.requiring import NotFound

_TONES = {"waiting": "neutral", "sent": "ok", "failed": "danger", "withheld": "warning"}


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    _require(request)
    page = paging.page(
        subscriptions.all_of_installation(request.principal),
        request.GET,
        sorts={"name": "name"},
        default="name",
    )
    rows = [(row, _said_events(row)) for row in page.rows]
    context = {"heading": "Notifications", "things": "subscriptions", "page": page, "rows": rows}
    return render(request, "settings/notifications.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    row = _subscription(request, pk)
    page = paging.page(deliveries.of(row), request.GET, sorts={"time": "created_at"}, default="-time")
    rows = [(one, kinds.label(one.kind), one.get_state_display(), _TONES[one.state]) for one in page.rows]
    context = {
        "heading": row.name,
        "subscription": row,
        "events": [kinds.label(name) for name in row.events],
        "page": page,
        "rows": rows,
        "may_see_events": resources.may(request, Action.LIST_EVENTS),
    }
    return render(request, "settings/notification.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    _require(request)
    form = forms.Subscribe(_sent(request), regions=_regions(request))
    if request.method == "POST" and form.is_valid():
        try:
            row, key = subscriptions.create(
                form.wanted(), actor=request.principal, url=form.address, robot=form.robot_secret
            )
        except addresses.BadAddress as error:
            form.add_error("url", str(error))
        except (subscriptions.Unfit, subscriptions.TooMany) as error:
            form.add_error(None, str(error))
        else:
            return _saved(request, row, key)
    context = {"form": form}
    return dialogs.ask(request, "settings/_notification_form.html", "Create subscription", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def edit(request: OperatorRequest, pk: UUID) -> HttpResponse:
    row = _subscription(request, pk)
    form = forms.Subscribe(_sent(request), regions=_regions(request), had=row)
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            key = subscriptions.edit(
                row,
                form.wanted(),
                revision=form.cleaned_data["revision"] or 0,
                actor=request.principal,
                url=form.address or None,
                with_new_key=form.cleaned_data.get("new_key", False),
                robot=form.robot_secret,
            )
        except addresses.BadAddress as error:
            form.add_error("url", str(error))
        except subscriptions.Unfit as error:
            form.add_error(None, str(error))
        except subscriptions.Outdated as error:
            form.add_error(None, str(error))
            status = 409
        else:
            return _saved(request, row, key)
    context = {"form": form, "subscription": row}
    return dialogs.show(
        request, "settings/_notification_form.html", "Edit subscription", context, status=status
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def delete(request: OperatorRequest, pk: UUID) -> HttpResponse:
    row = _subscription(request, pk)
    if request.method == "POST":
        subscriptions.delete(row, actor=request.principal)
        shown_messages.success(request, f"{row.name} is deleted.")
        return dialogs.leave(request, reverse("settings_notifications"))
    context = {"subscription": row}
    return dialogs.show(request, "settings/_notification_delete.html", "Delete subscription", context)


@login_required
@require_POST
@fresh.required(back="notification")
def send_test(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """Send one message, outside any transaction, and record what became of it.

    A subscription that was changed outside Keyturn leads nowhere, as for the events themselves.
    """
    row = _subscription(request, pk)
    message = uuid.uuid4()
    if seals.holds(row):
        answer = sending.deliver(row, [messages.test(message)], message)
    else:
        answer = webhooks.Answer(0, sending.CHANGED)
    subscriptions.note_managed(row, actor=request.principal, did="send test", answer=answer.status)
    if answer.is_accepted:
        shown_messages.success(request, "The test message was accepted.")
    else:
        shown_messages.error(request, f"The test message was not accepted. {answer.problem}")
    return redirect("notification", row.pk)


@login_required
@require_POST
def send_again(request: OperatorRequest, pk: UUID) -> HttpResponse:
    _require(request)
    row = Delivery.objects.select_related("subscription").filter(pk=pk, subscription__is_own=False).first()
    if row is None:
        raise NotFound
    try:
        with transaction.atomic():
            deliveries.send_again(row, actor=request.principal)
    except deliveries.StillWaiting as error:
        return errors.conflict(request, str(error))
    shown_messages.success(request, "It is sent again now, with the same id.")
    return redirect("notification", row.subscription_id)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def own(request: OperatorRequest) -> HttpResponse:
    """The mails of one's own: only what the user may see is ever sent."""
    form = forms.Own(_sent(request), had=subscriptions.own(request.principal))
    if request.method == "POST" and form.is_valid():
        events = tuple(form.cleaned_data["events"])
        subscriptions.choose_own(request.principal, events, form.interval)
        shown_messages.success(request, "Your notifications are saved.")
        return redirect("own_notifications")
    status = 422 if request.method == "POST" else 200
    return render(request, "account/notifications.html", {"form": form}, status=status)


def _require(request: OperatorRequest) -> None:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    resources.require(request, Action.MANAGE_NOTIFICATIONS)


def _subscription(request: OperatorRequest, pk: UUID) -> Subscription:
    _require(request)
    row = subscriptions.all_of_installation(request.principal).filter(pk=pk).first()
    if row is None:
        raise NotFound
    return row


def _sent(request: OperatorRequest) -> dict[str, object] | None:
    return request.POST if request.method == "POST" else None  # type: ignore[return-value]


def _regions(request: OperatorRequest) -> list[tuple[str, str]]:
    return [(row.code, row.name) for row in resources.described_regions(request) if not row.retired_at]


def _said_events(row: Subscription) -> str:
    labels = [kinds.label(name) for name in row.events]
    return labels[0] if len(labels) == 1 else f"{len(labels)} events"


def _saved(request: OperatorRequest, row: Subscription, key: Plaintext) -> HttpResponse:
    """Show the signing key, the only time; without one, the subscription."""
    url = reverse("notification", args=[row.pk])
    if not key:
        shown_messages.success(request, f"{row.name} is saved.")
        return dialogs.leave(request, url)
    context = {"subscription": row, "key": key, "back": url}
    return dialogs.show(request, "settings/_notification_key.html", "Signing key", context)
