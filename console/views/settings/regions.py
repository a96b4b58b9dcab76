"""Regions: the list, and making, renaming and retiring one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources
from console.forms.confirmation import TypedName
from console.forms.settings import regions as forms
from console.http import OperatorRequest
from console.lists import paging, region_list
from console.sessions import fresh
from console.views import dialogs
from rotation.inventory import places
from secrets_app import regions
from secrets_app.models import Region
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def home(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    return redirect("settings_regions")


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    rows = region_list.regions(request)
    context = {
        "heading": "Regions",
        "page": paging.page(rows, request.GET, sorts=region_list.SORTS, default="code"),
        "may_create": resources.may(request, Action.CREATE_REGION),
        "may_rename": resources.may(request, Action.UPDATE_REGION),
        "may_retire": resources.may(request, Action.RETIRE_REGION),
    }
    return render(request, "settings/regions.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    resources.require(request, Action.CREATE_REGION)
    form = forms.Create(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            region = places.create(actor=request.principal, **form.cleaned_data)
        except (regions.BadCode, regions.CodeTaken) as error:
            form.add_error("code", str(error))
        else:
            messages.success(request, f"{region.name} is created.")
            return _back(request)
    return dialogs.ask(request, "settings/_region_create.html", "Create region", {"form": form})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def rename(request: OperatorRequest, pk: UUID) -> HttpResponse:
    region = resources.region_to(request, pk, Action.UPDATE_REGION)
    form = forms.Rename(request.POST if request.method == "POST" else None, name=region.name)
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            places.rename(region, actor=request.principal, **form.cleaned_data)
        except regions.Outdated:
            form = _again(request, region)
            status = 409
        else:
            messages.success(request, f"{form.cleaned_data['name']} is saved.")
            return _back(request)
    context = {"form": form, "region": region}
    return dialogs.show(request, "settings/_region_rename.html", "Rename region", context, status=status)


def _again(request: OperatorRequest, region: Region) -> forms.Rename:
    """Keep what was typed, say what stands there now, and let it be sent again on that."""
    region.refresh_from_db()
    typed = request.POST.copy()
    typed["was"] = region.name
    form = forms.Rename(typed, name=region.name)
    form.add_error(
        "name", f"Nothing was saved: another user renamed it to {region.name}. Save again to replace that."
    )
    return form


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def retire(request: OperatorRequest, pk: UUID) -> HttpResponse:
    region = resources.region_to(request, pk, Action.RETIRE_REGION)
    form = TypedName(request.POST if request.method == "POST" else None, what="region", name=region.name)
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            places.retire(region, actor=request.principal, reason=form.cleaned_data["reason"])
        except (places.NotEmpty, regions.LastRegion) as error:
            form.add_error(None, str(error))
            status = 409
        else:
            messages.success(request, f"{region.name} is retired.")
            return _back(request)
    context = {"form": form, "region": region, "why_not": places.why_not(region)}
    return dialogs.show(request, "settings/_region_retire.html", "Retire region", context, status=status)


def _back(request: OperatorRequest) -> HttpResponse:
    return dialogs.leave(request, reverse("settings_regions"))
