"""Groups: the list, the page of one, and who is a member."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources, rights
from console.forms.access import lists as list_forms
from console.forms.access import people as forms
from console.http import OperatorRequest
from console.lists import access_lists, paging, preferences
from console.sessions import fresh
from console.views import dialogs
from secrets_app.models import Attachment, Principal, SecretGroupGrant
from secrets_app.people import users
from secrets_app.policy import decisions, policies
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = list_forms.Groups(request.GET)
    rows = access_lists.groups(request, filters.chosen())
    shown = preferences.of(request.principal, "groups")
    context = {
        "heading": "Groups",
        "things": "groups",
        "page": paging.page(
            rows, request.GET, sorts=access_lists.GROUP_SORTS, default="name", size=shown.rows
        ),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_create": resources.may(request, Action.CREATE_GROUP) and rights.has_full_access(request),
    }
    return render(request, "access/groups.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: int) -> HttpResponse:
    group = rights.group(request, pk)
    is_full = rights.has_full_access(request)
    members = rights.seen_users(request).filter(principal__groups=group)
    attached = Attachment.objects.filter(group=group).select_related("policy").order_by("policy__name")
    shown = rights.seen_attachments(request, attached)
    context = {
        "group": group,
        "page": paging.page(members, request.GET, sorts={"name": "username"}, default="name"),
        "machines": rights.seen_machines(request).filter(groups=group).order_by("name"),
        "attachments": shown,
        "unseen": len(attached) - len(shown),
        "grant_count": _grants_seen(request, group),
        "may_change": is_full and resources.may(request, Action.UPDATE_GROUP, users.named(group)),
        "may_attach": is_full and resources.may(request, Action.ATTACH_POLICY),
    }
    return render(request, "access/group.html", context)


def _grants_seen(request: OperatorRequest, group: Group) -> int:
    """How many grants the group has on secrets whose grants this person may list."""
    listed = decisions.visible(request.principal, Action.LIST_GRANTS, decisions.secret_rows())
    seen = resources.seen_secrets(request).filter(listed)
    return SecretGroupGrant.objects.filter(group=group, content_object__in=seen).count()


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    rights.require_full_access(request, Action.CREATE_GROUP, None)
    form = forms.CreateGroup(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            group = users.create_group(form.cleaned_data["name"], actor=request.principal)
        except (users.NameTaken, users.BadName) as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{group.name} is created. It has no members and no policies yet.")
            return dialogs.leave(request, reverse("group", args=[group.pk]))
    return dialogs.ask(request, "access/_group_create.html", "Create group", {"form": form})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def join(request: OperatorRequest, pk: int) -> HttpResponse:
    group = rights.group(request, pk, Action.UPDATE_GROUP)
    others = rights.seen_users(request).exclude(principal__groups=group).order_by("username")
    machines = rights.seen_machines(request).exclude(groups=group).order_by("name")
    sent = request.POST if request.method == "POST" else None
    form = forms.Join(sent, people=others, machines=machines)
    if request.method == "POST" and form.is_valid():
        users.join(group, form.chosen, actor=request.principal)
        messages.success(request, f"{len(form.chosen)} added to {group.name}.")
        return dialogs.leave(request, reverse("group", args=[group.pk]))
    context = {"form": form, "group": group, "policies": _policy_names(group)}
    context["others"] = bool(others or machines)
    return dialogs.ask(request, "access/_group_join.html", "Add members", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def leave(request: OperatorRequest, pk: int, member: UUID) -> HttpResponse:
    group = rights.group(request, pk, Action.UPDATE_GROUP)
    is_it = Q(user=member) | Q(pk=member, kind=Principal.Kind.MACHINE)
    who = Principal.objects.filter(is_it, groups=group).first()
    if who is None:
        raise Http404
    context: dict[str, object] = {"group": group, "member": who, "policies": _policy_names(group)}
    if request.method == "POST":
        try:
            users.leave(group, who, actor=request.principal)
        except policies.LastAdministrator as error:
            context["problem"] = str(error)
        else:
            messages.success(request, f"{who} is no longer a member of {group.name}.")
            return dialogs.leave(request, reverse("group", args=[group.pk]))
    status = 409 if "problem" in context else 200
    return dialogs.show(request, "access/_group_leave.html", "Remove member", context, status=status)


def _policy_names(group: Group) -> list[str]:
    attached = Attachment.objects.filter(group=group).order_by("policy__name")
    return list(attached.values_list("policy__name", flat=True))
