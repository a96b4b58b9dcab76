"""What is changed about an instance: its approved host keys, its credential, its name and address."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources
from console.forms.instances import instances as forms
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from console.views.instances.instances import host_keys
from rotation import instance_checks, tasks, wires
from rotation.inventory import holding, identities, instances, management, patience
from rotation.models import HostKey, Instance
from secrets_app.models import AuditEvent
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def approve(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.APPROVE_HOST_KEY)
    keys = host_keys(instance)
    # For a changed key nothing new is ticked beforehand: that click is the decision.
    ticked = keys.shown if not keys.approved else [key for key in keys.shown if key in keys.approved]
    form = forms.Approve(
        request.POST if request.method == "POST" else None,
        keys=keys.shown,
        shown=instance.shown,
        initial={"fingerprints": [key.fingerprint for key in ticked]},
    )
    if request.method == "POST" and form.is_valid():
        try:
            identities.approve_host_keys(instance, form.cleaned_data["fingerprints"], actor=request.principal)
        except identities.NotSeen as error:
            form.add_error("fingerprints", str(error))
        else:
            test_connection(request, instance)
            messages.success(request, f"The {instance.shown.one} of {instance.name} is approved.")
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    return dialogs.ask(
        request,
        "instances/_approve.html",
        f"Approve {instance.shown.one}",
        {
            "form": form,
            "region": region,
            "instance": instance,
            "keys": keys,
            "compare": wires.comparison(instance.wire),
        },
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def attach(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.USE_CREDENTIAL)
    form = forms.Attach(
        request.POST if request.method == "POST" else None,
        credentials=resources.credentials(request),
        initial={"credential": instance.credential_id},
    )
    if request.method == "POST" and form.is_valid():
        try:
            management.attach(instance, form.cleaned_data["credential"], actor=request.principal)
        except holding.OtherSystem as error:
            form.add_error("credential", str(error))
        except decisions.NotAllowed as error:
            resources.refused(request, error)
            form.add_error("credential", str(error))
        else:
            test_connection(request, instance)
            messages.success(request, "The management credential is attached.")
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    return dialogs.ask(
        request,
        "instances/_attach.html",
        "Attach management credential",
        {
            "form": form,
            "region": region,
            "instance": instance,
            "sees_own_login": resources.sees_own_login(request, instance),
        },
    )


def test_connection(request: OperatorRequest, instance: Instance) -> None:
    """Test the connection automatically when everything for it is there."""
    has_login = instance.credential_id or instance.own_login_id
    is_ready = has_login and instance.host_keys.filter(state=HostKey.State.APPROVED).exists()
    if is_ready and resources.may(request, Action.CHECK_INSTANCE, instance):
        try:
            tasks.wake(instance_checks.check(instance, actor=request.principal))
        except patience.TooOften as error:
            messages.warning(request, f"The connection is not tested yet. {error}")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def edit(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.UPDATE_INSTANCE)
    shown = {name: getattr(instance, name) for name in ("name", "address", "port", "revision")}
    form = _edited(instance, request.POST if request.method == "POST" else None, initial=shown)
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                instances.change(instance, **form.place, actor=request.principal)
                _trust(request, instance, form)
        except instances.NameTaken as error:
            form.add_error("name", str(error))
        except (instances.AddressTaken, instances.AddressForbidden) as error:
            form.add_error("address", str(error))
        except decisions.NotAllowed as error:
            instance.refresh_from_db()
            resources.refused(request, error)
            form.add_error("transport", str(error))
        except instances.Outdated:
            return _outdated(request, region, instance)
        else:
            messages.success(request, f"{instance.name} is saved.")
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    return _edit_form(request, region, instance, form, status=status)


def _edited(instance: Instance, typed: Any, **options: Any) -> forms.Edit:
    has_authority = host_keys(instance).authority is not None
    return forms.Edit(typed, instance=instance, has_authority=has_authority, **options)


def _trust(request: OperatorRequest, instance: Instance, form: forms.Edit) -> None:
    """Trust the authority that was given, or none any more if another way was chosen."""
    way = form.chosen_transport(instance.os) if form.leaves_choice else None
    if way is None:
        return
    if way.by_authority:
        if form.cleaned_data["authority"]:
            identities.trust_authority(instance, form.cleaned_data["authority"], actor=request.principal)
    elif form.has_authority:
        identities.distrust_authority(instance, actor=request.principal)


def _outdated(request: OperatorRequest, region: str, instance: Instance) -> HttpResponse:
    """Keep what was typed, say who changed what, and let it be sent again on what is true now."""
    instance.refresh_from_db()
    typed = request.POST.copy()
    typed["revision"] = str(instance.revision)
    again = _edited(instance, typed)
    changes = AuditEvent.objects.filter(resource_id=instance.pk, action=Action.UPDATE_INSTANCE)
    last = changes.filter(outcome=AuditEvent.Outcome.SUCCEEDED).first()
    return _edit_form(request, region, instance, again, status=409, changed=last)


def _edit_form(
    request: OperatorRequest,
    region: str,
    instance: Instance,
    form: forms.Edit,
    *,
    status: int,
    changed: AuditEvent | None = None,
) -> HttpResponse:
    context = {
        "form": form,
        "region": region,
        "instance": instance,
        "is_outdated": status == 409,
        "changed": changed,
    }
    return dialogs.show(request, "instances/_edit.html", "Edit instance", context, status=status)
