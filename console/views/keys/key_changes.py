"""What is done to a key: new version, rewrap, disable, enable, destruction and its cancelling."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from console import errors
from console.access import resources
from console.forms.keys import keys as forms
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from rotation import tasks
from rotation.models import ManagementCredential
from secrets_app import keyring
from secrets_app.keys import key_states, rewraps
from secrets_app.models import Key, KeyVersion
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

MOST_LISTED = 20

View = Callable[[OperatorRequest, UUID], HttpResponse]


def of_its_state(view: View) -> View:
    """A change that the key's state does not allow is answered with a page that says so."""

    @wraps(view)
    def wrapped(request: OperatorRequest, pk: UUID) -> HttpResponse:
        try:
            return view(request, pk)
        except key_states.WrongState as error:
            return errors.conflict(request, str(error))

    return wrapped


@login_required
@require_POST
@fresh.required(back="key")
@of_its_state
def new_version(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.UPDATE_KEY)
    version = key_states.new_version(key, actor=request.principal)
    messages.success(request, f"Version {version.number} of {key.alias} seals new values from now on.")
    return _back(request, key)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def rewrap(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.UPDATE_KEY)
    form = forms.Rewrap(
        request.POST if request.method == "POST" else None,
        source=key,
        targets=resources.keys_to_seal_with(request),
    )
    if request.method == "POST" and form.is_valid():
        target = form.cleaned_data["target"]
        resources.require(request, Action.UPDATE_KEY, target)
        try:
            with transaction.atomic():
                work = rewraps.start(key, target, actor=request.principal)
                transaction.on_commit(lambda: tasks.send(tasks.rewrap, str(work.pk)))
        except (rewraps.UnderWay, keyring.KeyUnusable) as error:
            form.add_error(None, str(error))
        else:
            return _back(request, key)
    context = {"key": key, "form": form, "value_count": key_states.values_under(key).count()}
    return dialogs.ask(request, "keys/_rewrap.html", "Rewrap", context)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
@of_its_state
def disable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.DISABLE_KEY)
    form = forms.TypedAlias(request.POST if request.method == "POST" else None, key=key)
    if request.method == "POST" and form.is_valid():
        key_states.disable(key, actor=request.principal)
        messages.warning(request, f"{key.alias} is disabled: nothing that it sealed can be read.")
        return _back(request, key)
    context = {"key": key, "form": form, **_needed_by(request, key)}
    return dialogs.ask(request, "keys/_disable.html", "Disable key", context)


def _needed_by(request: OperatorRequest, key: Key) -> dict[str, object]:
    """What stops with the key: counted as it is, named as far as this person may see it."""
    secrets = key_states.secrets_of(key)
    seen = decisions.visible(request.principal, Action.DESCRIBE_SECRET, decisions.secret_rows())
    listed = list(secrets.filter(seen).select_related("region").order_by("name")[:MOST_LISTED])
    count = secrets.count()
    credentials = ManagementCredential.objects.filter(sealed__key_version__key=key)
    return {
        "secret_count": count,
        "secrets": listed,
        "unlisted_count": count - len(listed),
        "credential_count": credentials.count(),
    }


@login_required
@require_POST
@fresh.required(back="key")
@of_its_state
def enable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.ENABLE_KEY)
    key_states.enable(key, actor=request.principal)
    messages.success(request, f"{key.alias} is enabled again.")
    return _back(request, key)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
@of_its_state
def destroy(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.SCHEDULE_KEY_DELETION)
    version = _version(request, key)
    form = forms.Destroy(request.POST if request.method == "POST" else None, key=key)
    status = 200
    if request.method == "POST" and not form.is_valid():
        status = 422
    elif request.method == "POST":
        days = form.cleaned_data["days"]
        try:
            key_states.plan_destruction(key, days=days, actor=request.principal, version=version)
        except key_states.InUse as error:
            form.add_error(None, str(error))
            status = 409
        else:
            messages.warning(request, f"It is destroyed in {days} days. Until then, Cancel keeps it.")
            return _back(request, key)
    context = {"key": key, "version": version, "form": form, "in_use": _in_use(key, version)}
    return dialogs.show(request, "keys/_destroy.html", "Schedule destruction", context, status=status)


def _in_use(key: Key, version: KeyVersion | None) -> str:
    try:
        key_states.refuse_in_use(key, version)
    except key_states.InUse as error:
        return str(error)
    return ""


@login_required
@require_POST
@fresh.required(back="key")
@of_its_state
def cancel(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = resources.key(request, pk, Action.CANCEL_KEY_DELETION)
    version = _version(request, key)
    key_states.cancel_destruction(key, actor=request.principal, version=version)
    if version:
        messages.success(request, f"Version {version.number} of {key.alias} is kept.")
    else:
        messages.success(request, f"{key.alias} is kept, and disabled until a user enables it.")
    return _back(request, key)


def _version(request: OperatorRequest, key: Key) -> KeyVersion | None:
    """The version in the URL; None for the whole key. Raises Http404."""
    number = request.GET.get("version", "")
    if not number:
        return None
    version = key.versions.filter(number=number).first() if number.isascii() and number.isdigit() else None
    if version is None:
        raise Http404
    return version


def _back(request: OperatorRequest, key: Key) -> HttpResponse:
    return dialogs.leave(request, reverse("key", args=[key.pk]))
