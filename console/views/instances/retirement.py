"""Retire Instance: what depends on it is said first, then the domain does it."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources
from console.forms.confirmation import TypedName
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation.inventory import retirement
from rotation.models import Instance, Run
from secrets_app.policy.decisions import Action

MOST_LISTED = 20


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def retire(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.DEREGISTER_INSTANCE)
    form = TypedName(request.POST if request.method == "POST" else None, what="instance", name=instance.name)
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            retirement.retire(instance, actor=request.principal, reason=form.cleaned_data["reason"])
        except retirement.InUse as error:
            form.add_error(None, str(error))
            status = 409
        else:
            messages.success(request, f"{instance.name} is retired. Nothing was changed on the machine.")
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    context = {"region": region, "instance": instance, "form": form, **_needed_by(request, instance)}
    return dialogs.show(request, "instances/_retire.html", "Retire Instance", context, status=status)


def _needed_by(request: OperatorRequest, instance: Instance) -> dict[str, object]:
    """What depends on the instance: counted as it is, named as far as this person may see it."""
    secrets = retirement.secrets_on(instance)
    seen = resources.seen_secrets(request).filter(pk__in=secrets.values("pk"))
    listed = list(seen.select_related("managed").order_by("name")[:MOST_LISTED])
    runs = retirement.runs_on(instance)
    seen_runs = _seen_runs(request, runs)
    return {
        "secrets": listed,
        "unlisted_count": secrets.count() - len(listed),
        "runs": seen_runs,
        "unlisted_runs": runs.count() - len(seen_runs),
    }


def _seen_runs(request: OperatorRequest, runs: QuerySet[Run]) -> list[Run]:
    if not resources.may(request, Action.LIST_RUNS):
        return []
    seen = resources.runs(request, resources.ALL_REGIONS).filter(pk__in=runs.values("pk"))
    return list(seen.order_by("-created_at")[:MOST_LISTED])
