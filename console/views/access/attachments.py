"""Attach a policy to a user or a group, and detach it; one dialog for all pages that offer it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import rights
from console.forms.access import policies as forms
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from secrets_app.models import Attachment, Principal
from secrets_app.policy import policies
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def attach(request: OperatorRequest) -> HttpResponse:
    rights.require_full_access(request, Action.ATTACH_POLICY)
    choices: dict[str, Any] = {
        "policies": rights.seen_policies(request),
        "people": rights.seen_users(request).order_by("username"),
        "groups": Group.objects.order_by("name"),
        "machines": rights.seen_machines(request).order_by("name"),
    }
    if request.method != "POST":
        initial = {name: request.GET.get(name, "") for name in ("policy", "to")}
        return _ask(request, forms.Attach(initial=initial, **choices))
    form = forms.Attach(request.POST, **choices)
    if not form.is_valid():
        return _ask(request, form, status=422)
    policy = rights.policy(request, UUID(form.cleaned_data["policy"]), Action.ATTACH_POLICY)
    policies.attach(policy, form.whom, actor=request.principal)
    messages.success(request, f"{policy.name} applies to {form.whom} from the next request on.")
    return dialogs.leave(request, reverse("policy", args=[policy.pk]))


def _ask(request: OperatorRequest, form: forms.Attach, status: int = 200) -> HttpResponse:
    context = {"form": form, "back": reverse("policies")}
    return dialogs.show(request, "access/_attach.html", "Attach policy", context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def detach(request: OperatorRequest, pk: UUID) -> HttpResponse:
    attachment = Attachment.objects.select_related("policy", "principal__user", "group").filter(pk=pk).first()
    if attachment is None:
        raise Http404
    policy = rights.policy(request, attachment.policy_id, Action.ATTACH_POLICY)
    whose: Principal | Group | None = attachment.principal or attachment.group
    assert whose is not None
    context: dict[str, object] = {
        "policy": policy,
        "whose": whose,
        "is_group": attachment.group is not None,
        "is_machine": isinstance(whose, Principal) and whose.kind == Principal.Kind.MACHINE,
    }
    if request.method == "POST":
        try:
            policies.detach(policy, whose, actor=request.principal)
        except policies.LastAdministrator as error:
            context["problem"] = str(error)
        else:
            messages.success(request, f"{policy.name} no longer applies to {whose}.")
            return dialogs.leave(request, reverse("policy", args=[policy.pk]))
    status = 409 if "problem" in context else 200
    return dialogs.show(request, "access/_detach.html", "Detach policy", context, status=status)
