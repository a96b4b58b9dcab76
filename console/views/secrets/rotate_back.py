"""Rotate back to an earlier value: the instance gets it again, and no user is shown it."""

from __future__ import annotations

from uuid import UUID, uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets.secrets import Press
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import runs, tasks
from secrets_app import keyring
from secrets_app.crypto import envelope, passwords
from secrets_app.models import Secret, SecretVersion
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def rotate_back(request: OperatorRequest, region: str, pk: UUID, version: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.ROTATE_SECRET)
    resources.require(request, Action.PUT_SECRET_VALUE, secret)
    chosen = secret.versions.filter(pk=version).first()
    if chosen is None:
        raise Http404
    if request.method == "GET":
        # The token makes pressing twice one rotation.
        context = {"secret": secret, "region": region, "version": chosen, "token": uuid4().hex}
        return dialogs.show(request, "secrets/_rotate_back.html", "Rotate back to this value", context)
    form = Press(request.POST)
    if not form.is_valid():
        return errors.unreadable()
    try:
        _start(request, secret, chosen, form.cleaned_data["token"])
    except (
        runs.InProgress,
        runs.NotRotatable,
        passwords.Unfit,
        keyring.KeyUnusable,
        keyring.Sealed,
        envelope.Tampered,
    ) as error:
        return errors.conflict(request, str(error))
    messages.success(request, "Rotation triggered.")
    return dialogs.leave(request, reverse("secret", args=[region, secret.pk]))


def _start(request: OperatorRequest, secret: Secret, version: SecretVersion, token: str) -> None:
    with transaction.atomic():
        tasks.wake(runs.start(secret, actor=request.principal, from_version=version, token=token))
