"""Rotate Immediately: ask why and to what, start the run, and let a worker do the rest."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from console.access import resources
from console.forms.secrets.secrets import Rotate
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import accounts, runs, tasks, wires
from rotation.models import Run
from secrets_app.crypto import key_pairs, passwords
from secrets_app.kinds import table as kinds
from secrets_app.models import Label, Secret
from secrets_app.policy.decisions import Action

TITLE = "Rotate Immediately"


def carries_a_value(request: HttpRequest) -> bool:
    """True when the user chooses the new value, and so knows it: that equals a reveal."""
    return bool(request.POST.get("value"))


@login_required
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("value")
@fresh.required(when=carries_a_value)
def rotate(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    if request.method == "GET":
        # The token makes pressing twice, or sending the page again, one rotation.
        return _ask(request, secret, region, Rotate(initial={"token": uuid4().hex}, kind=secret.kind))
    form = Rotate(request.POST, kind=secret.kind)
    if not form.is_valid():
        return _ask(request, secret, region, form, status=422)
    try:
        run = _start(request, secret, form)
    except (runs.InProgress, runs.NotRotatable) as error:
        form.add_error(None, str(error))
        return _ask(request, secret, region, form, status=409)
    except runs.NoReason as error:
        form.add_error("policy_reason", error.sentence)
        return _ask(request, secret, region, form, status=422)
    except (passwords.Unfit, key_pairs.Unreadable) as error:
        form.add_error("value", str(error))
        return _ask(request, secret, region, form, status=422)
    return _triggered(request, secret, region, run, is_joined=run.request_token != form.cleaned_data["token"])


def _start(request: OperatorRequest, secret: Secret, form: Rotate) -> Run:
    cleaned = form.cleaned_data
    with transaction.atomic():
        run = runs.start(
            secret,
            actor=request.principal,
            value=cleaned["value"],
            is_leak=cleaned["reason"] == "leaked",
            token=cleaned["token"],
            overrides_policy=cleaned["overrides_policy"],
            reason=cleaned["policy_reason"] if cleaned["overrides_policy"] else "",
        )
        tasks.wake(run)
    return run


def _ask(
    request: OperatorRequest, secret: Secret, region: str, form: Rotate, status: int = 200
) -> HttpResponse:
    context = {
        "secret": secret,
        "region": region,
        "form": form,
        "policy": passwords.policy(secret.password_policy),
        "is_key_pair": kinds.TABLE[secret.kind].HAS_PUBLIC_HALF,
        "ends_sessions": wires.ends_sessions(accounts.needed(secret).instance.wire),
        "has_value": secret.labelled(Label.Role.CURRENT) is not None,
        "algorithm": key_pairs.ALGORITHMS.get(secret.key_algorithm, ""),
        "active": secret.runs.active().filter(kind=Run.Kind.ROTATE).select_related("requested_by").first(),
        "may_choose": resources.may(request, Action.PUT_SECRET_VALUE, secret),
        "may_override": kinds.TABLE[secret.kind].HAS_POLICY
        and resources.may(request, Action.OVERRIDE_POLICY, secret),
    }
    return dialogs.show(request, "secrets/_rotate.html", TITLE, context, status=status)


def _triggered(
    request: OperatorRequest, secret: Secret, region: str, run: Run, *, is_joined: bool
) -> HttpResponse:
    if not request.htmx:
        messages.success(request, "Rotation triggered.")
        return redirect("secret", region=region, pk=secret.pk)
    context = {"secret": secret, "region": region, "run": run, "is_joined": is_joined}
    response = render(request, "secrets/_rotation_triggered.html", context, status=202)
    response["HX-Trigger"] = json.dumps({"secretsChanged": {}})
    return response
