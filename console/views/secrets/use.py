"""Use in an application: what to write in a program that reads this secret. It shows no value."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from console.interfaces.aws import calls
from console.presentation import snippets
from console.views import dialogs
from console.views.access import access_keys
from secrets_app.actions import Action


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.DESCRIBE_SECRET)
    context = {
        "secret": secret,
        "snippets": snippets.filled(
            endpoint=access_keys.endpoint(request),
            region=calls.name_of(secret.region),
            secret=secret.name,
        ),
        "may_see_keys": resources.may(request, Action.LIST_ACCESS_KEYS),
        "back": reverse("secret", args=[region, secret.pk]),
    }
    return dialogs.show(request, "secrets/_use.html", "Use in an application", context)
