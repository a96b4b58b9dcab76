"""The policy of one secret: shown on its Permissions tab, written and deleted in a dialog."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources, rights
from console.fetching import users_and_policies
from console.forms.access.resource_policy import Write
from console.http import OperatorRequest
from console.presentation import documents
from console.sessions import fresh
from console.views import dialogs
from secrets_app.actions import Action, principal_arn
from secrets_app.models import Principal, Secret
from secrets_app.policy import resource_documents
from secrets_app.secrets import lifecycle, resource_policies

TITLE = "Resource policy"


def tab(request: OperatorRequest, secret: Secret) -> dict[str, object]:
    """What the Permissions tab shows of it, to a user who may see the secret's grants."""
    may_read = users_and_policies.sees_resource_policy(request.principal, secret)
    is_full = resources.may(request, Action.SET_SECRET_POLICY, secret) and rights.has_full_access(request)
    return {
        "has_resource_policy": secret.resource_policy is not None,
        "resource_lines": documents.lines(resource_documents.document(secret.resource_policy))
        if may_read and secret.resource_policy
        else [],
        "resource_set": secret.policy_revisions.select_related("set_by").first(),
        "may_set_policy": secret.is_enabled and is_full,
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def edit(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.SET_SECRET_POLICY)
    rights.require_full_access(request, Action.SET_SECRET_POLICY, secret)
    back = reverse("secret", args=[region, secret.pk]) + "?tab=permissions"
    if "delete" in request.POST and request.method == "POST":
        return _delete(request, secret, back)
    now = resource_documents.document(secret.resource_policy)
    first = {
        "document": now or _example(secret, request.principal),
        "replaces": resource_policies.mark(secret),
    }

    def check(text: str) -> str:
        return resource_policies.checked(text, secret=secret, actor=request.principal)

    sent = request.POST if request.method == "POST" else None
    form, status, more = Write(sent, check=check, initial=first), 422 if sent is not None else 200, {}
    if sent is not None and form.is_valid():
        try:
            resource_policies.put(
                secret,
                form.cleaned_data["document"],
                actor=request.principal,
                replaces=form.cleaned_data["replaces"],
            )
        except lifecycle.Outdated:
            typed = sent.copy()
            typed["replaces"] = resource_policies.mark(secret)
            form, status = Write(typed, check=check), 409
            more = {"is_outdated": True, "now": documents.lines(now)}
        else:
            messages.success(request, f"The resource policy of {secret.name} is saved and takes effect now.")
            return dialogs.leave(request, back)
    wrong = {problem.line for problem in form.problems}
    context = {
        "form": form,
        "secret": secret,
        "back": back,
        "lines": documents.lines(form.typed, wrong) if wrong else [],
        "has_resource_policy": secret.resource_policy is not None,
        **more,
    }
    return dialogs.show(request, "secrets/_resource_policy.html", TITLE, context, status=status)


def _delete(request: OperatorRequest, secret: Secret, back: str) -> HttpResponse:
    """Ask first, with the document; delete what was shown, and nothing that another user wrote meanwhile."""
    shown = request.POST.get("shown")
    if shown is not None:
        try:
            resource_policies.delete(secret, actor=request.principal, replaces=shown)
        except lifecycle.Outdated:
            secret.refresh_from_db()
        else:
            messages.success(request, f"{secret.name} has no resource policy any more.")
            return dialogs.leave(request, back)
    if secret.resource_policy is None:
        return dialogs.leave(request, back)
    context = {
        "secret": secret,
        "back": back,
        "lines": documents.lines(resource_documents.document(secret.resource_policy)),
        "shown": resource_policies.mark(secret),
        "is_outdated": shown is not None,
    }
    title, status = "Delete resource policy", 200 if shown is None else 409
    return dialogs.show(request, "secrets/_resource_policy_delete.html", title, context, status=status)


def _example(secret: Secret, who: Principal) -> str:
    """What a first document may look like: this user may read the value."""
    statement = {
        "Effect": "Allow",
        "Principal": {"RAM": [principal_arn(who.name, account=secret.account.number)]},
        "Action": [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE],
        "Resource": "*",
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, indent=2)
