"""Policies: the list, the page of one, and writing, copying and deleting one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources, rights
from console.forms.access import lists as list_forms
from console.forms.access import policies as forms
from console.http import OperatorRequest
from console.lists import access_lists, paging, preferences
from console.presentation import documents
from console.reports import reached
from console.sessions import fresh
from console.views import dialogs
from secrets_app.models import AuditEvent, Policy
from secrets_app.policy import policies
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def start(request: OperatorRequest) -> HttpResponse:
    """The first part of Access that one may open."""
    for action, name in (
        (Action.LIST_USERS, "users"),
        (Action.LIST_GROUPS, "groups"),
        (Action.LIST_POLICIES, "policies"),
        (Action.LIST_ACCESS_KEYS, "access_keys"),
    ):
        if resources.may(request, action):
            return redirect(name)
    resources.require(request, Action.LIST_USERS)
    raise PermissionDenied


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = list_forms.Policies(request.GET)
    rows = access_lists.policies(request, filters.chosen())
    shown = preferences.of(request.principal, "policies")
    context = {
        "heading": "Policies",
        "things": "policies",
        "page": paging.page(
            rows, request.GET, sorts=access_lists.POLICY_SORTS, default="name", size=shown.rows
        ),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_create": resources.may(request, Action.CREATE_POLICY) and rights.has_full_access(request),
    }
    return render(request, "access/policies.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    policy = rights.policy(request, pk)
    is_full = rights.has_full_access(request)
    is_mine = is_full and policy.kind == Policy.Kind.CUSTOM
    attached = policy.attachments.select_related("principal__user", "group", "attached_by")
    holders = rights.seen_holders(request, attached.order_by("principal__name", "group__name"))
    context = {
        "policy": policy,
        "lines": documents.lines(policy.document),
        "attachments": holders,
        "unseen": len(attached) - len(holders),
        "reached": reached.counts(request, policy),
        "may_edit": is_mine and resources.may(request, Action.UPDATE_POLICY, policy),
        "may_delete": is_mine and resources.may(request, Action.DELETE_POLICY, policy),
        "may_copy": is_full and resources.may(request, Action.CREATE_POLICY),
        "may_attach": is_full and resources.may(request, Action.ATTACH_POLICY, policy),
    }
    return render(request, "access/policy.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    rights.require_full_access(request, Action.CREATE_POLICY)
    if request.method != "POST":
        return _ask(request, forms.Create(initial=_copied(request)), "Create policy")
    form = forms.Create(request.POST)
    if form.is_valid():
        try:
            policy = policies.create(
                form.cleaned_data["name"],
                form.cleaned_data["document"],
                description=form.cleaned_data["description"],
                actor=request.principal,
            )
        except policies.NameTaken as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{policy.name} is created. It is not attached yet.")
            return dialogs.leave(request, reverse("policy", args=[policy.pk]))
    return _ask(request, form, "Create policy", status=422)


def _copied(request: OperatorRequest) -> dict[str, str]:
    """What a new policy begins with: another one's document, or an example."""
    try:
        wanted = UUID(request.GET.get("copy", ""))
    except ValueError:
        return {"document": forms.EXAMPLE}
    policy = rights.policy(request, wanted)
    return {
        "name": f"{policy.name}-copy"[:128],
        "description": policy.description,
        "document": policy.document,
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def edit(request: OperatorRequest, pk: UUID) -> HttpResponse:
    policy = rights.policy(request, pk, Action.UPDATE_POLICY)
    kept = {
        "description": policy.description,
        "document": policy.document,
        "revision": policy.revision,
    }
    if request.method != "POST":
        return _ask(request, forms.Change(initial=kept), f"Edit {policy.name}", policy=policy)
    form = forms.Change(request.POST)
    if not form.is_valid():
        return _ask(request, form, f"Edit {policy.name}", policy=policy, status=422)
    try:
        policies.change(
            policy,
            form.cleaned_data["document"],
            revision=form.cleaned_data["revision"],
            description=form.cleaned_data["description"],
            actor=request.principal,
        )
    except policies.Outdated:
        return _outdated(request, policy)
    except policies.NotYours as error:
        form.add_error(None, str(error))
        return _ask(request, form, f"Edit {policy.name}", policy=policy, status=409)
    messages.success(request, f"{policy.name} is saved and applies to all users who have it.")
    return dialogs.leave(request, reverse("policy", args=[policy.pk]))


def _outdated(request: OperatorRequest, policy: Policy) -> HttpResponse:
    """Keep what was typed, show what is true now, and let it be sent again on that."""
    policy.refresh_from_db()
    typed = request.POST.copy()
    typed["revision"] = str(policy.revision)
    changes = AuditEvent.objects.filter(
        resource_id=policy.pk, action=Action.UPDATE_POLICY, outcome=AuditEvent.Outcome.SUCCEEDED
    )
    more = {"is_outdated": True, "changed": changes.first(), "now": documents.lines(policy.document)}
    return _ask(request, forms.Change(typed), f"Edit {policy.name}", policy=policy, status=409, **more)


def _ask(
    request: OperatorRequest,
    form: forms.Write,
    title: str,
    *,
    policy: Policy | None = None,
    status: int = 200,
    **more: object,
) -> HttpResponse:
    wrong = {problem.line for problem in form.problems}
    context = {
        "form": form,
        "policy": policy,
        "lines": documents.lines(form.typed, wrong) if wrong else [],
        "back": reverse("policy", args=[policy.pk]) if policy else reverse("policies"),
        **more,
    }
    return dialogs.show(request, "access/_policy_form.html", title, context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def delete(request: OperatorRequest, pk: UUID) -> HttpResponse:
    policy = rights.policy(request, pk, Action.DELETE_POLICY)
    context: dict[str, object] = {"policy": policy}
    if request.method == "POST":
        try:
            policies.delete(policy, actor=request.principal)
        except (policies.StillAttached, policies.NotYours) as error:
            context["problem"] = str(error)
        else:
            messages.success(request, f"{policy.name} is deleted.")
            return dialogs.leave(request, reverse("policies"))
    status = 409 if "problem" in context else 200
    return dialogs.show(request, "access/_policy_delete.html", "Delete policy", context, status=status)
