"""Override and rotate: a check that blocked a rotation may not stop the next one, once, for a reason."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets.resolve import Override
from console.http import OperatorRequest
from console.presentation.run_states import is_overridable
from console.sessions import fresh
from console.views import dialogs
from rotation import reasons, runs, tasks
from rotation.models import Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def override(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    run = resources.run(request, region, pk)
    if run.secret is None or not is_overridable(run):
        return errors.conflict(
            request, "Only a rotation that was blocked by a check that may be overridden can continue."
        )
    secret = resources.secret(request, region, run.secret.pk, Action.ROTATE_SECRET)
    resources.require(request, Action.OVERRIDE_CHECK, secret)
    form = Override(request.POST if request.method == "POST" else None)
    if request.method == "GET" or not form.is_valid():
        return _ask(request, region, run, form, status=200 if request.method == "GET" else 422)
    try:
        again = _start(request, secret, run, form.cleaned_data["reason"])
    except runs.NoReason as error:
        form.add_error("reason", str(error))
        return _ask(request, region, run, form, status=422)
    except (runs.NotRotatable, runs.NotOverridable, runs.InProgress) as error:
        return errors.conflict(request, str(error))
    messages.success(request, "Rotation triggered.")
    return dialogs.leave(request, reverse("run", args=[region, again.pk]))


def _start(request: OperatorRequest, secret: Secret, run: Run, reason: str) -> Run:
    # One that was let pass before stays so: the run may have met a second one behind it.
    overrides = sorted({*run.overrides, run.code})
    with transaction.atomic():
        again = runs.start(
            secret,
            actor=request.principal,
            trigger=Run.Trigger.RETRY,
            is_leak=run.is_leak,
            overrides=overrides,
            reason=reason,
        )
        tasks.wake(again)
    return again


def _ask(
    request: OperatorRequest, region: str, run: Run, form: Override, *, status: int = 200
) -> HttpResponse:
    context = {
        "run": run,
        "secret": run.secret,
        "region": region,
        "form": form,
        "consequences": [reasons.override(code) for code in sorted({*run.overrides, run.code})],
    }
    return dialogs.show(request, "rotations/_override.html", "Override and rotate", context, status=status)
