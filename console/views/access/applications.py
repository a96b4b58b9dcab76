"""Applications: the list, the page of one, and creating, disabling and enabling one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources, rights
from console.fetching import users_and_policies
from console.forms.access import applications as forms
from console.forms.access import lists as list_forms
from console.forms.access.people import Reason
from console.http import OperatorRequest
from console.lists import access_lists, paging, preferences
from console.sessions import fresh
from console.views import dialogs
from console.views.access import access_keys, people
from secrets_app.actions import Action
from secrets_app.models import Principal
from secrets_app.people import machines


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = list_forms.Applications(request.GET)
    rows = access_lists.applications(request, filters.chosen())
    shown = preferences.of(request.principal, "applications")
    sorts = access_lists.APPLICATION_SORTS
    context = {
        "heading": "Applications",
        "things": "applications",
        "page": paging.page(rows, request.GET, sorts=sorts, default="name", size=shown.rows),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_create": resources.may(request, Action.CREATE_USER),
        "may_see_groups": resources.may(request, Action.LIST_GROUPS),
    }
    return render(request, "access/applications.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    machine = rights.machine(request, pk)
    is_full = rights.has_full_access(request)
    name = machines.named(machine)
    may_disable = resources.may(request, Action.DISABLE_USER, name)
    attached = users_and_policies.attachments_of(machine)
    shown = rights.seen_attachments(request, attached)
    may_see_keys = resources.may(request, Action.LIST_ACCESS_KEYS, name)
    keys = rights.seen_keys(request).filter(principal=machine) if may_see_keys else []
    context = {
        "machine": machine,
        "arn": name.arn,
        "groups": machine.groups.order_by("name"),
        "attachments": shown,
        "unseen": len(attached) - len(shown),
        "grants": people.grants_of(request, machine),
        "keys": access_keys.offered(request, keys),
        "may_see_keys": may_see_keys,
        "may_create_key": access_keys.may_create_for(request, machine),
        "may_disable": may_disable and machine.is_active,
        "may_enable": may_disable and is_full and not machine.is_active,
        "may_attach": is_full and resources.may(request, Action.ATTACH_POLICY),
        "may_see_groups": resources.may(request, Action.LIST_GROUPS),
        "may_see_events": resources.may(request, Action.LIST_EVENTS),
    }
    return render(request, "access/application.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.CREATE_USER)
    form = forms.CreateApplication(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            machine = machines.create(form.cleaned_data["name"], actor=request.principal)
        except (machines.NameTaken, machines.BadName) as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{machine} is created. It has no permissions and no access key yet.")
            return dialogs.leave(request, _page_of(request, machine))
    return dialogs.ask(request, "access/_application_create.html", "Create application", {"form": form})


def _page_of(request: OperatorRequest, machine: Principal) -> str:
    """The page of the new application; the list, for users who may create one and see none."""
    if resources.may(request, Action.DESCRIBE_USER, machines.named(machine)):
        return reverse("application", args=[machine.pk])
    return reverse("applications" if resources.may(request, Action.LIST_USERS) else "home")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def disable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    machine = rights.machine(request, pk, Action.DISABLE_USER)
    form = Reason(request.POST if request.method == "POST" else None, auto_id="disable_%s")
    if request.method == "POST" and form.is_valid():
        machines.disable(machine, actor=request.principal, reason=form.cleaned_data["reason"])
        messages.success(request, f"{machine} is disabled. Its next request is refused.")
        return dialogs.leave(request, reverse("application", args=[machine.pk]))
    context = {"form": form, "machine": machine}
    return dialogs.ask(request, "access/_application_disable.html", "Disable application", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def enable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    machine = rights.machine(request, pk, Action.DISABLE_USER)
    rights.require_full_access(request, Action.DISABLE_USER, machines.named(machine))
    form = Reason(request.POST if request.method == "POST" else None, auto_id="enable_%s")
    if request.method == "POST" and form.is_valid():
        machines.enable(machine, actor=request.principal, reason=form.cleaned_data["reason"])
        messages.success(request, f"{machine} is enabled. Its access keys are valid again.")
        return dialogs.leave(request, reverse("application", args=[machine.pk]))
    context = {"form": form, "machine": machine}
    return dialogs.ask(request, "access/_application_enable.html", "Enable application", context)
