"""Cancel a run, as long as its host was told nothing."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from console import errors
from console.access import resources
from console.http import OperatorRequest
from console.views import dialogs
from rotation import cancelling
from secrets_app.policy.decisions import Action


@login_required
@require_POST
def cancel(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    run = resources.run(request, region, pk)
    if run.secret is None:
        return errors.conflict(request, "A check of an instance ends automatically and changes nothing.")
    resources.secret(request, region, run.secret.pk, Action.ROTATE_SECRET)
    try:
        cancelling.cancel(run, actor=request.principal)
    except cancelling.TooLate as error:
        return errors.conflict(request, str(error), title="This run cannot be cancelled")
    messages.success(request, "The run is cancelled. Nothing was sent to the instance.")
    return dialogs.leave(request, reverse("run", args=[region, run.pk]))
