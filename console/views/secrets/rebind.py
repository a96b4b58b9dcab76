"""Rebind: a user confirms that the values of an account may be sent to another machine than before."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console import errors
from console.access import resources
from console.forms.secrets.rebind import Rebind
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import accounts, binding, runs
from rotation.inventory import management
from rotation.managed import rebinding
from rotation.models import Instance
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle

TITLE: Final = "Rebind"
#: Nothing was rebound, and why is a sentence for the user.
CONFLICTS: Final = (management.NotAttached, runs.InProgress, lifecycle.NotEnabled)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def of_secret(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.REBIND_ACCOUNT)
    return _rebind(request, region, accounts.needed(secret).instance, [secret], back=("secret", secret.pk))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def of_instance(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """All at once of those that need it, out of the secrets on which the user has the right."""
    instance = resources.instance(request, region, pk, Action.DESCRIBE_INSTANCE)
    resources.require(request, Action.REBIND_ACCOUNT)
    return _rebind(request, region, instance, rebindable(request, instance), back=("instance", instance.pk))


def rebindable(request: OperatorRequest, instance: Instance) -> list[Secret]:
    """The secrets of accounts there that wait for a confirmation and that this user may give it for."""
    wanted = (Action.DESCRIBE_SECRET, Action.REBIND_ACCOUNT)
    needed = rebinding.needed_on(instance)
    return [secret for secret in needed if all(resources.may(request, action, secret) for action in wanted)]


def _rebind(
    request: OperatorRequest,
    region: str,
    instance: Instance,
    secrets: list[Secret],
    *,
    back: tuple[str, UUID],
) -> HttpResponse:
    new = binding.now_at(instance)
    form = Rebind(request.POST if request.method == "POST" else None, stamp=new.stamp)
    if not secrets:
        if request.method == "POST":
            return errors.conflict(request, "No account of this instance has to be rebound.")
    elif request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            rebinding.rebind(secrets, actor=request.principal, reason=given["reason"], stamp=given["stamp"])
        except rebinding.Changed as error:
            form = Rebind(request.POST | {"stamp": new.stamp}, stamp=new.stamp)
            form.add_error(None, str(error))
        except CONFLICTS as error:
            return errors.conflict(request, str(error))
        else:
            messages.success(request, f"Bound to {instance.name} as it is now. Verify, or rotate.")
            return dialogs.leave(request, reverse(back[0], args=[region, back[1]]))
    context = {
        "form": form,
        "region": region,
        "instance": instance,
        "new": new,
        "proposals": [rebinding.proposal(secret) for secret in secrets],
        "back": reverse(back[0], args=[region, back[1]]),
    }
    return dialogs.ask(request, "secrets/_rebind.html", TITLE, context)
