"""Keys: the list, one key with its versions, and a new key."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources
from console.forms.keys import keys as forms
from console.http import OperatorRequest
from console.lists import key_list, paging, preferences
from console.sessions import fresh
from console.views import dialogs
from secrets_app import keyring
from secrets_app.keys import key_states
from secrets_app.models import Key, KeyVersion, SealedValue
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    shown = preferences.of(request.principal, "keys")
    rows = key_list.keys(request)
    context = {
        "heading": "Keys",
        "things": "keys",
        "page": paging.page(rows, request.GET, sorts=key_list.SORTS, default="alias", size=shown.rows),
        "shown": shown,
        "may_create": resources.may(request, Action.CREATE_KEY),
    }
    return render(request, "keys/list.html", context)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.CREATE_KEY)
    form = forms.Create(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            key = key_states.create(actor=request.principal, **form.cleaned_data)
        except key_states.AliasTaken as error:
            form.add_error("alias", str(error))
        else:
            messages.success(request, f"{key.alias} is created.")
            return dialogs.leave(request, reverse("key", args=[key.pk]))
    return dialogs.ask(request, "keys/_create.html", "Create key", {"form": form})


@login_required
@require_safe
def show(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.DESCRIBE_KEY)
    state = key.state
    context = {
        "key": key,
        "state": state,
        "is_default": key.alias == keyring.DEFAULT_ALIAS,
        "versions": _versions(key),
        "secret_count": resources.seen_secrets(request).filter(pk__in=key_states.secrets_of(key)).count(),
        "work": key.rewraps.select_related("source", "target", "requested_by").first(),
        "may_renew": state == "enabled" and resources.may(request, Action.UPDATE_KEY, key),
        "may_disable": state == "enabled" and resources.may(request, Action.DISABLE_KEY, key),
        "may_enable": state == "disabled" and resources.may(request, Action.ENABLE_KEY, key),
        "may_destroy": resources.may(request, Action.SCHEDULE_KEY_DELETION, key),
        "may_cancel": resources.may(request, Action.CANCEL_KEY_DELETION, key),
    }
    return render(request, "keys/key.html", context)


@login_required
@require_safe
def progress(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """How far the newest rewrap of a key is; the page asks for it while it runs."""
    key = resources.key(request, pk, Action.DESCRIBE_KEY)
    work = key.rewraps.select_related("source", "target", "requested_by").first()
    return render(request, "keys/_rewrap_progress.html", {"key": key, "work": work})


def _versions(key: Key) -> QuerySet[KeyVersion]:
    under = SealedValue.objects.filter(key_version=OuterRef("pk")).order_by().values("key_version")
    counted = Coalesce(Subquery(under.annotate(count=Count("pk")).values("count")), 0)
    return key.versions.annotate(value_count=counted)
