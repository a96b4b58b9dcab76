"""Login of an instance: by a secret of its own account, in place of a shared management credential."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources
from console.forms.instances import instances as forms
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from console.views.instances.instance_changes import test_connection
from rotation.inventory import management
from secrets_app.policy.decisions import Action


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def use(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.USE_CREDENTIAL)
    form = forms.OwnLogin(
        request.POST if request.method == "POST" else None,
        secrets=resources.secrets(request, resources.ALL_REGIONS),
        instance=instance,
    )
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["secret"]
        try:
            management.use_own_login(instance, chosen, sudo=form.chosen_sudo, actor=request.principal)
        except management.NoOwnLogin as error:
            form.add_error("secret", str(error))
        else:
            test_connection(request, instance)
            messages.success(request, f"{instance.name} logs in with {chosen.name} from now on.")
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    return dialogs.ask(
        request,
        "instances/_own_login.html",
        "Log in with a secret of its own",
        {"form": form, "region": region, "instance": instance},
    )
