"""Users: the list, the page of one, and disabling, enabling and renaming one."""

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
from console.forms.access import lists as list_forms
from console.forms.access import people as forms
from console.http import OperatorRequest
from console.lists import access_lists, paging, preferences
from console.sessions import fresh
from console.views import dialogs
from secrets_app.models import Principal, SecretGroupGrant, SecretPrincipalGrant, User
from secrets_app.people import users
from secrets_app.policy import decisions, policies
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = list_forms.Users(request.GET)
    rows = access_lists.users(request, filters.chosen())
    shown = preferences.of(request.principal, "users")
    context = {
        "heading": "Users",
        "things": "users",
        "page": paging.page(
            rows, request.GET, sorts=access_lists.USER_SORTS, default="name", size=shown.rows
        ),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_invite": resources.may(request, Action.CREATE_USER),
        "may_see_groups": resources.may(request, Action.LIST_GROUPS),
    }
    return render(request, "access/users.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    user = rights.user(request, pk)
    is_full = rights.has_full_access(request)
    name = users.named(user)
    may_disable = resources.may(request, Action.DISABLE_USER, name)
    attached = users_and_policies.attachments_of(user.principal)
    shown = rights.seen_attachments(request, attached)
    context = {
        "person": user,
        "arn": name.arn,
        "groups": user.groups.order_by("name"),
        "attachments": shown,
        "unseen": len(attached) - len(shown),
        "grants": grants_of(request, user.principal),
        "may_see_keys": resources.may(request, Action.LIST_ACCESS_KEYS, name),
        "may_edit": resources.may(request, Action.UPDATE_USER, name),
        "may_reset": _may_reset(request, user) and is_full,
        "may_disable": may_disable and user.is_active,
        "may_enable": may_disable and is_full and not user.is_active,
        "may_attach": is_full and resources.may(request, Action.ATTACH_POLICY),
        "may_see_groups": resources.may(request, Action.LIST_GROUPS),
        "may_see_events": resources.may(request, Action.LIST_EVENTS),
    }
    return render(request, "access/user.html", context)


def _may_reset(request: OperatorRequest, user: User) -> bool:
    is_another = user.is_active and user != request.user
    return is_another and resources.may(request, Action.RESET_SIGN_IN, users.named(user))


def grants_of(
    request: OperatorRequest, principal: Principal
) -> list[SecretPrincipalGrant | SecretGroupGrant]:
    """The grants of this user or application on secrets whose grants the reader may see."""
    related = ("content_object__region", "content_object__account", "permission", "granted_by")
    rows = [
        *SecretPrincipalGrant.objects.filter(principal=principal).select_related(*related),
        *SecretGroupGrant.objects.filter(group__in=principal.groups.all()).select_related(*related, "group"),
    ]
    seen = [
        row
        for row in rows
        if decisions.allows(request.principal, Action.DESCRIBE_SECRET, row.content_object)
        and decisions.allows(request.principal, Action.LIST_GRANTS, row.content_object)
    ]
    return sorted(seen, key=lambda row: (row.content_object.name, row.permission.codename))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def edit(request: OperatorRequest, pk: UUID) -> HttpResponse:
    user = rights.user(request, pk, Action.UPDATE_USER)
    shown = {"display_name": user.display_name, "email": user.email}
    sent = request.POST if request.method == "POST" else None
    form = forms.EditUser(sent, initial=shown, auto_id="user_%s")
    if request.method == "POST" and form.is_valid():
        users.rename(user, form.cleaned_data["display_name"], actor=request.principal)
        users.readdress(user, form.cleaned_data["email"], actor=request.principal)
        messages.success(request, f"{user} is saved.")
        return dialogs.leave(request, reverse("user", args=[user.pk]))
    return dialogs.ask(request, "access/_user_edit.html", "Edit user", {"form": form, "person": user})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def disable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    user = rights.user(request, pk, Action.DISABLE_USER)
    form = forms.Reason(request.POST if request.method == "POST" else None, auto_id="disable_%s")
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                users.disable(user, actor=request.principal, reason=form.cleaned_data["reason"])
            except policies.LastAdministrator as error:
                form.add_error(None, str(error))
                status = 409
            else:
                messages.success(request, f"{user} is disabled. Open sessions end with their next request.")
                return dialogs.leave(request, reverse("user", args=[user.pk]))
    context = {"form": form, "person": user}
    return dialogs.show(request, "access/_user_disable.html", "Disable user", context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def enable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    user = rights.user(request, pk, Action.DISABLE_USER)
    rights.require_full_access(request, Action.DISABLE_USER, users.named(user))
    form = forms.Reason(request.POST if request.method == "POST" else None, auto_id="enable_%s")
    if request.method == "POST" and form.is_valid():
        users.enable(user, actor=request.principal, reason=form.cleaned_data["reason"])
        messages.success(request, f"{user} may sign in again.")
        return dialogs.leave(request, reverse("user", args=[user.pk]))
    context = {"form": form, "person": user}
    return dialogs.ask(request, "access/_user_enable.html", "Enable user", context)
