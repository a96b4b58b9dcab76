"""Generic secrets: creating one with its first value, giving it the next one, and labels of its versions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets.generic import CreateGeneric, EditValue, Labels
from console.forms.secrets.generic_value import SENSITIVE
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from console.views.secrets import wizard
from secrets_app.actions import Action
from secrets_app.models import Label, Region, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import generic, lifecycle


def _sent(request: OperatorRequest) -> tuple[Any, Any]:
    """What a form is made of; nothing before it was sent."""
    return (request.POST, request.FILES) if request.method == "POST" else (None, None)


@login_required
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters(*SENSITIVE)
@fresh.required()
def create(request: OperatorRequest, region: str) -> HttpResponse:
    resources.require(request, Action.CREATE_SECRET)
    here = resources.region(request, region)
    if here is None:
        return wizard.choose_region(request)
    if request.POST.get("type") == Secret.Type.ECS:  # without script the choice leads on when it is sent
        return dialogs.leave(request, reverse("secret_create", args=[region]))
    form = CreateGeneric(*_sent(request), keys=resources.keys_to_seal_with(request))
    if request.method == "POST" and form.is_valid():
        secret = _made(request, here, form)
        if secret is not None:
            messages.success(request, f"{secret.name} is created.")
            return dialogs.leave(request, reverse("secret", args=[region, secret.pk]))
    place = here.name if here in resources.shown_regions(request) else region
    context = {"form": form, "region": region, "place": place}
    return dialogs.ask(request, "secrets/_generic_create.html", "Create Secret", context)


def _made(request: OperatorRequest, region: Region, form: CreateGeneric) -> Secret | None:
    """The new secret; None where the form says why there is none."""
    cleaned = form.cleaned_data
    try:
        secret, _ = generic.create(
            cleaned["name"],
            region=region,
            actor=request.principal,
            value=form.stored,
            version_id=str(cleaned["token"]),
            description=cleaned["description"],
            tags=cleaned["tags"],
            key=cleaned["key"],
            reminder_days=form.reminder_days,
        )
    except decisions.NotAllowed as error:
        raise resources.refused(request, error) from None
    except (lifecycle.NameTaken, lifecycle.BadName) as error:
        form.add_error("name", str(error))
    except generic.TokenTaken:
        form.add_error(form.value_field, "This form was sent already, with another value. Open it again.")
    else:
        return secret
    return None


@login_required
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters(*SENSITIVE)
@fresh.required()
def edit_value(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.PUT_SECRET_VALUE)
    if not secret.is_generic:
        return errors.conflict(request, str(generic.Managed.__doc__))
    current = secret.labelled(Label.Role.CURRENT)
    opened_at = {"replaces": current.version_id if current else ""}
    form = EditValue(*_sent(request), initial=opened_at)
    status = 422 if request.method == "POST" else 200
    if form.is_valid():
        try:
            generic.put(
                secret,
                form.stored,
                actor=request.principal,
                version_id=str(form.cleaned_data["token"]),
                replaces=form.cleaned_data["replaces"],
            )
        except generic.Outdated as error:
            form.add_error(None, str(error))
            status = 409
        except (generic.TokenTaken, generic.TooManyVersions) as error:
            form.add_error(form.value_field, str(error))
        else:
            messages.success(request, f"{secret.name} has a new value. Programs read it from now on.")
            return dialogs.leave(request, reverse("secret", args=[region, secret.pk]) + "?tab=versions")
    context = {"form": form, "secret": secret, "region": region, "current": current}
    return dialogs.show(request, "secrets/_generic_value.html", "Edit value", context, status=status)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def labels(request: OperatorRequest, region: str, pk: UUID, version: UUID) -> HttpResponse:
    """The custom labels of a version; here an earlier one becomes the current one, too."""
    secret = resources.secret(request, region, pk, Action.PUT_SECRET_VALUE)
    chosen = secret.versions.filter(pk=version, destroyed_at=None).first()
    if chosen is None:
        raise Http404
    if not secret.is_generic:
        return errors.conflict(request, str(generic.Managed.__doc__))
    had = chosen.labels.filter(role=Label.Role.CUSTOM).order_by("name").values_list("name", flat=True)
    form = Labels(request.POST if request.method == "POST" else None, had=had)
    if form.is_valid():
        cleaned, actor = form.cleaned_data, request.principal
        try:
            generic.relabel(
                chosen, cleaned["labels"], becomes_current=cleaned["becomes_current"], actor=actor
            )
        except generic.TooManyLabels as error:
            form.add_error("labels", str(error))
        else:
            messages.success(request, "The labels are saved.")
            return dialogs.leave(request, reverse("secret", args=[region, secret.pk]) + "?tab=versions")
    is_current = chosen == secret.labelled(Label.Role.CURRENT)
    context = {"form": form, "secret": secret, "region": region, "version": chosen, "is_current": is_current}
    return dialogs.ask(request, "secrets/_labels.html", "Labels", context)
