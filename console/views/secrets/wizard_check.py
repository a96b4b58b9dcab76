"""The preflight checklist of Review and confirm: the chosen account on the chosen instance, looked at now.

The look is a run of its own: the wizard never waits for a host, and what is found prevents nothing.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import prefetch_related_objects
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.secrets import dependants
from console.http import OperatorRequest
from console.presentation import run_states
from rotation import instance_checks, tasks
from rotation.connectors import base
from rotation.inventory import patience
from rotation.managed import creation
from rotation.models import HostKey, Instance, Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action

FRAGMENT = "secrets/_wizard_check.html"


def context(request: OperatorRequest, instance: Instance, username: str, kind: str) -> dict[str, object]:
    """Have the account looked at, where that can be; say what is missing where not."""
    missing = _missing(request, instance)
    shown: dict[str, object] = {"instance": instance, "username": username, "missing": missing}
    if missing:
        return _earlier(instance, shown)
    try:
        with transaction.atomic():
            run = instance_checks.check_account(instance, username, kind, actor=request.principal)
            tasks.wake(run)
    except patience.TooOften as error:
        return _earlier(instance, shown | {"missing": str(error)})
    return _of(run)


def _earlier(instance: Instance, shown: dict[str, object]) -> dict[str, object]:
    """Earlier check of the instance."""
    findings = run_states.findings(instance.checks)
    return {"check": None, "checked": shown, "is_earlier": True, "findings": findings}


def _missing(request: OperatorRequest, instance: Instance) -> str:
    """Why the check is not possible now; empty if it is."""
    if not resources.may(request, Action.CHECK_INSTANCE, instance):
        return "You do not have permission to check this instance."
    if not (instance.credential_id or instance.own_login_id):
        return "No management credential is attached to this instance. Attach one."
    if not instance.host_keys.filter(state=HostKey.State.APPROVED).exists():
        one = instance.shown.one
        return f"No {one} of this instance is approved. Scan its {one}, compare, and approve it."
    return ""


def _of(run: Run) -> dict[str, object]:
    prefetch_related_objects([run], "steps")
    evidence = [line for step in run.steps.all() for line in step.evidence]
    return {
        "check": run,
        "checked": {"instance": run.instance, "username": run.username, "missing": ""},
        "dependants": dependants.read(evidence),
        # Until it has looked, what was found on the instance before.
        "findings": run_states.findings(evidence or (run.instance.checks if run.is_active else [])),
        "is_earlier": not evidence,
        "may_be_overridden": run.code in base.OVERRIDABLE,
        "region": run.instance.region.code,
    }


@login_required
@require_POST
def again(request: OperatorRequest, region: str) -> HttpResponse:
    """Check again, on the press of the button; the form's value does not travel here."""
    resources.require(request, Action.CREATE_SECRET)
    sent = {name: request.POST.get(name, "") for name in ("instance", "username", "kind")}
    rows, named = (
        resources.instances(request, region),
        sent["instance"].replace("\0", ""),
    )  # PostgreSQL has no NUL
    instance = rows.filter(name=named).first() or rows.filter(instance_id=named).first()
    if instance is None:
        raise Http404
    resources.require(request, Action.CHECK_INSTANCE, instance)
    if sent["kind"] not in Secret.Kind.values:
        return errors.unprocessable(request, "Choose Password or Key pair first.")
    try:
        creation.check_account(
            instance.region, instance, sent["username"], sent["kind"], actor=request.principal
        )
    except (
        creation.BadUsername,
        creation.AccountTaken,
        creation.KindUnsupported,
        creation.RegionMismatch,
    ) as error:
        return errors.unprocessable(request, str(error))
    shown = context(request, instance, sent["username"], sent["kind"]) | {"region": region}
    return render(request, FRAGMENT, shown, status=202)


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The checklist while it is being made; 204 while nothing has changed."""
    resources.require(request, Action.CREATE_SECRET)
    run = resources.run(request, region, pk)
    if run.kind != Run.Kind.CHECK or not run.username:
        raise Http404
    if request.GET.get("seen") == run_states.mark(run):
        return HttpResponse(status=204)
    return render(request, FRAGMENT, _of(run))
