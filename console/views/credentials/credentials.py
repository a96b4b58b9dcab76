"""Management credentials: the accounts that Keyturn works as, and what prepares an instance for one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources
from console.forms.confirmation import TypedName
from console.forms.credentials import credentials as forms
from console.http import OperatorRequest
from console.lists import credential_list, paging, preferences
from console.sessions import fresh
from console.views import dialogs
from rotation import wires
from rotation.inventory import instances, management, preparation
from rotation.models import ManagementCredential
from secrets_app.crypto import key_pairs
from secrets_app.policy.decisions import Action

MOST_LISTED = 20


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = forms.Filters(request.GET)
    rows = credential_list.credentials(request, filters.chosen())
    shown = preferences.of(request.principal, "credentials")
    context = {
        "heading": "Management credentials",
        "things": "management credentials",
        "page": paging.page(rows, request.GET, sorts=credential_list.SORTS, default="name", size=shown.rows),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_create": resources.may(request, Action.CREATE_CREDENTIAL),
    }
    return render(request, "credentials/list.html", context)


@sensitive_post_parameters("password", "private_key", "sudo_password")
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.CREATE_CREDENTIAL)
    form = forms.Create(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        credential = _create(request, form)
        if credential is not None:
            messages.success(request, f"{credential.name} is created.")
            return dialogs.leave(request, reverse("credential", args=[credential.pk]))
    return dialogs.ask(request, "credentials/_create.html", "Create management credential", {"form": form})


def _create(request: OperatorRequest, form: forms.Create) -> ManagementCredential | None:
    cleaned = form.cleaned_data
    try:
        return management.create_credential(
            cleaned["name"],
            cleaned["username"],
            sudo=cleaned["sudo"],
            actor=request.principal,
            password=cleaned["password"],
            private_key=cleaned["private_key"],
            sudo_password=cleaned["sudo_password"],
            wire=form.wire.name,
        )
    except instances.NameTaken as error:
        form.add_error("name", str(error))
    return None


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    credential = resources.credential(request, pk, Action.DESCRIBE_CREDENTIAL)
    # Over a wire with sudo the command allows it without a password, so it fits only where that is meant.
    is_kept = credential.deleted_at is None
    with_key = bool(credential.public_key) and credential.sudo != ManagementCredential.Sudo.PASSWORD
    fits = with_key or not credential.elevates
    context = {
        "credential": credential,
        "fingerprint": key_pairs.fingerprint(credential.public_key) if credential.public_key else "",
        "may_delete": is_kept and resources.may(request, Action.DELETE_CREDENTIAL, credential),
        "prepare": preparation.command(credential) if fits and is_kept else "",
        "undo": preparation.opposite(credential) if fits else "",
        "words": wires.login(credential.wire).permits,
        "page": paging.page(
            resources.seen_instances(request).filter(credential=credential),
            request.GET,
            sorts={"name": "name"},
            default="name",
        ),
    }
    return render(request, "credentials/credential.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def delete(request: OperatorRequest, pk: UUID) -> HttpResponse:
    credential = resources.credential(request, pk, Action.DELETE_CREDENTIAL)
    form = TypedName(
        request.POST if request.method == "POST" else None, what="credential", name=credential.name
    )
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            management.delete_credential(
                credential, actor=request.principal, reason=form.cleaned_data["reason"]
            )
        except management.CredentialInUse as error:
            form.add_error(None, str(error))
            status = 409
        else:
            messages.success(request, f"{credential.name} is deleted. Nothing was changed on any instance.")
            return dialogs.leave(request, reverse("credential", args=[credential.pk]))
    used = management.instances_with(credential)
    seen = resources.seen_instances(request).filter(pk__in=used.values("pk"))
    listed = list(seen.order_by("name")[:MOST_LISTED])
    context = {
        "credential": credential,
        "form": form,
        "instances": listed,
        "unlisted_count": used.count() - len(listed),
    }
    return dialogs.show(
        request, "credentials/_delete.html", "Delete management credential", context, status=status
    )
