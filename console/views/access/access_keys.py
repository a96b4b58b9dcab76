"""Access keys: the list, making one, whose secret is shown once, and rotating, disabling and deleting one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources, rights
from console.fetching import access_keys as fetching
from console.forms.access import applications as forms
from console.forms.access import lists as list_forms
from console.forms.access.people import Reason
from console.http import OperatorRequest
from console.interfaces import new_regions
from console.interfaces.aws import calls, door
from console.lists import access_lists, paging, preferences
from console.presentation import access_key_states, snippets
from console.presentation.secret_states import Fact
from console.sessions import fresh
from console.views import dialogs
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey, Principal
from secrets_app.people import access_keys
from secrets_app.policy import policies


@dataclass(frozen=True)
class Offered:
    """An access key on the screen, and what its reader may do with it."""

    key: AccessKey
    state: Fact
    owner_url: str
    may_rotate: bool
    may_disable: bool
    may_enable: bool
    may_delete: bool


def offered(request: OperatorRequest, keys: Iterable[AccessKey]) -> list[Offered]:
    """These keys, each with the buttons that its reader is shown."""
    is_full, account = policies.has_full_access(request.principal), regions.account().number
    return [_offered(request, key, account, is_full=is_full) for key in keys]


def _offered(request: OperatorRequest, key: AccessKey, account: str, *, is_full: bool) -> Offered:
    owner = key.principal
    name = access_keys.named(owner, account=account)
    gives = is_full or owner == request.principal
    may_update = resources.may(request, Action.UPDATE_ACCESS_KEY, name)
    may_create = resources.may(request, Action.CREATE_ACCESS_KEY, name)
    return Offered(
        key,
        access_key_states.of_key(key),
        _page_of(owner),
        may_rotate=gives and may_create and access_keys.is_active(owner),
        may_disable=may_update and key.is_active,
        may_enable=gives and may_update and not key.is_active,
        may_delete=access_keys.is_deletable(key) and resources.may(request, Action.DELETE_ACCESS_KEY, name),
    )


def may_create_for(request: OperatorRequest, owner: Principal) -> bool:
    """Whether **Create access key** is offered on the page of this application."""
    is_full = policies.has_full_access(request.principal)
    may = resources.may(request, Action.CREATE_ACCESS_KEY, access_keys.named(owner))
    return may and (is_full or owner == request.principal) and access_keys.is_active(owner)


def _page_of(owner: Principal) -> str:
    if owner.user_id is not None:
        return reverse("user", args=[owner.user_id])
    return reverse("application", args=[owner.pk])


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    filters = list_forms.AccessKeys(request.GET)
    rows = access_lists.access_keys(request, filters.chosen())
    shown = preferences.of(request.principal, "access_keys")
    sorts = access_lists.KEY_SORTS
    page: paging.Page[Any] = paging.page(rows, request.GET, sorts=sorts, default="owner", size=shown.rows)
    context = {
        "heading": "Access keys",
        "things": "access keys",
        "page": replace(page, rows=offered(request, page.rows)),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_create": resources.may(request, Action.CREATE_ACCESS_KEY),
        "account": regions.account(),
        "endpoint": endpoint(request),
        "region_name": region_name(request),
        "snippets": snippets.filled(endpoint=endpoint(request), region=region_name(request)),
    }
    return render(request, "access/access_keys.html", context)


def endpoint(request: OperatorRequest) -> str:
    """The address that a client of AWS is pointed at: where this page was asked for."""
    return request.build_absolute_uri(door.PATH)


def region_name(request: OperatorRequest) -> str:
    """What a client calls the first region that this user sees."""
    shown = resources.shown_regions(request)
    first = min(shown, key=lambda row: (row.created_at, row.code), default=None)
    return calls.name_of(first) if first else new_regions.FIRST_REGION


# ---------------------------------------------------------------- made


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def create(request: OperatorRequest) -> HttpResponse:
    """Ask whose and until when, then show the secret."""
    resources.require(request, Action.CREATE_ACCESS_KEY)
    owners = rights.key_owners(request)
    sent = request.POST if request.method == "POST" else None
    initial = {"owner": request.GET.get("owner", "")}
    form = forms.CreateKey(sent, initial=initial, owners=owners, oneself=request.principal)
    if form.is_valid():
        owner = rights.key_owner(request, UUID(form.cleaned_data["owner"]))
        made = _made(request, owner, form)
        if made is not None:
            return _shown_once(request, *made, "Access key")
    return dialogs.ask(request, "access/_access_key_create.html", "Create access key", {"form": form})


def _made(
    request: OperatorRequest, owner: Principal, form: forms.CreateKey | forms.SecondKey
) -> tuple[AccessKey, Plaintext] | None:
    """The new key with its secret; None where the form says why there is none."""
    try:
        return access_keys.create(
            owner,
            actor=request.principal,
            networks=form.ranges,
            expires_at=form.expires_at,
            reason=form.cleaned_data["reason"],
        )
    except access_keys.BadNetwork as error:
        form.add_error("networks", str(error))
    except (access_keys.TooMany, access_keys.NoPrincipal) as error:
        form.add_error(None, str(error))
    return None


def _shown_once(
    request: OperatorRequest, key: AccessKey, secret: Plaintext, title: str, old: AccessKey | None = None
) -> HttpResponse:
    context = {
        "key": key,
        "secret": secret,
        "env_file": _env_file(request, key, secret),
        "credentials_file": _credentials_file(key, secret),
        "old": old,
        "back": reverse("access_keys", query={"q": key.principal.name}),
    }
    return dialogs.show(request, "access/_access_key_made.html", title, context)


def _env_file(request: OperatorRequest, key: AccessKey, secret: Plaintext) -> Plaintext:
    lines = {
        "AWS_ACCESS_KEY_ID": key.key_id,
        "AWS_SECRET_ACCESS_KEY": secret.reveal(),
        "AWS_REGION": region_name(request),
        "AWS_DEFAULT_REGION": region_name(request),  # of boto3, which does not read the other one
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": endpoint(request),
    }
    return Plaintext("\n".join(f"{name}={text}" for name, text in lines.items()))


def _credentials_file(key: AccessKey, secret: Plaintext) -> Plaintext:
    lines = ("[default]", f"aws_access_key_id = {key.key_id}", f"aws_secret_access_key = {secret.reveal()}")
    return Plaintext("\n".join(lines))


# ---------------------------------------------------------------- changed


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def disable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = rights.access_key(request, pk, Action.UPDATE_ACCESS_KEY)
    form = Reason(request.POST if request.method == "POST" else None, auto_id="disable_%s")
    if request.method == "POST" and form.is_valid():
        access_keys.disable(key, actor=request.principal, reason=form.cleaned_data["reason"])
        messages.success(request, f"{key} is disabled. The next request with it is refused.")
        return dialogs.leave(request, _list_of(key))
    return _ask(request, "access/_access_key_disable.html", "Disable access key", key, form)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def enable(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = rights.access_key(request, pk, Action.UPDATE_ACCESS_KEY)
    fetching.require_to_give(request.principal, Action.UPDATE_ACCESS_KEY, key.principal)
    form = Reason(request.POST if request.method == "POST" else None, auto_id="enable_%s")
    if request.method == "POST" and form.is_valid():
        access_keys.enable(key, actor=request.principal, reason=form.cleaned_data["reason"])
        messages.success(request, f"{key} is enabled.")
        return dialogs.leave(request, _list_of(key))
    return _ask(request, "access/_access_key_enable.html", "Enable access key", key, form)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def delete(request: OperatorRequest, pk: UUID) -> HttpResponse:
    key = rights.access_key(request, pk, Action.DELETE_ACCESS_KEY)
    form = Reason(request.POST if request.method == "POST" else None, auto_id="delete_%s")
    if request.method == "POST" and form.is_valid():
        try:
            access_keys.delete(key, actor=request.principal, reason=form.cleaned_data["reason"])
        except access_keys.InUse as error:
            form.add_error(None, str(error))
            return _ask(request, "access/_access_key_delete.html", "Delete access key", key, form, status=409)
        messages.success(request, f"{key} is deleted.")
        return dialogs.leave(request, _list_of(key))
    return _ask(request, "access/_access_key_delete.html", "Delete access key", key, form)


def _ask(
    request: OperatorRequest, fragment: str, title: str, key: AccessKey, form: Reason, *, status: int = 0
) -> HttpResponse:
    context = {"form": form, "key": key, "back": _list_of(key)}
    if status:
        return dialogs.show(request, fragment, title, context, status=status)
    return dialogs.ask(request, fragment, title, context)


def _list_of(key: AccessKey) -> str:
    return reverse("access_keys", query={"q": key.principal.name})


# ---------------------------------------------------------------- rotated

STALE = "The keys have changed since this page was opened. Read the next step and continue."


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def rotate(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """Replace a key without a gap: make a second one, disable the old one, delete it."""
    key = rights.access_key(request, pk, Action.CREATE_ACCESS_KEY)
    fetching.require_to_give(request.principal, Action.CREATE_ACCESS_KEY, key.principal)
    other = fetching.beside(key)
    step = _step(key, other)
    if request.method == "POST" and request.POST.get("step") != step:
        return _ask_to_rotate(request, key, other, step, problem=STALE)
    if step == "create":
        return _second(request, key)
    if request.method != "POST":
        return _ask_to_rotate(request, key, other, step)
    if step == "disable":
        resources.require(request, Action.UPDATE_ACCESS_KEY, access_keys.named(key.principal))
        access_keys.disable(key, actor=request.principal, reason="rotated")
        messages.success(request, f"{key} is disabled. If a program still needs it, enable it again.")
    else:
        resources.require(request, Action.DELETE_ACCESS_KEY, access_keys.named(key.principal))
        access_keys.delete(key, actor=request.principal, reason="rotated")
        messages.success(request, f"{key} is deleted. The rotation is complete.")
    return dialogs.leave(request, _list_of(key))


def _step(key: AccessKey, other: AccessKey | None) -> str:
    """What the rotation of `key` needs next."""
    if other is None:
        return "create"
    return "disable" if key.is_active else "delete"


def _second(request: OperatorRequest, key: AccessKey) -> HttpResponse:
    sent = request.POST if request.method == "POST" else None
    form = forms.SecondKey(sent, initial={"step": "create", "networks": "\n".join(key.networks)})
    if form.is_valid():
        made = _made(request, key.principal, form)
        if made is not None:
            return _shown_once(request, *made, "Rotate access key", old=key)
    return _ask_to_rotate(request, key, None, "create", form=form)


def _ask_to_rotate(
    request: OperatorRequest,
    key: AccessKey,
    other: AccessKey | None,
    step: str,
    *,
    form: forms.SecondKey | None = None,
    problem: str = "",
) -> HttpResponse:
    if step == "create" and form is None:
        form = forms.SecondKey(initial={"step": "create", "networks": "\n".join(key.networks)})
    context = {
        "key": key,
        "other": other,
        "step": step,
        "number": ("create", "disable", "delete").index(step) + 1,
        "form": form,
        "problem": problem,
        "back": _list_of(key),
    }
    title = "Rotate access key"
    if problem:
        return dialogs.show(request, "access/_access_key_rotate.html", title, context, status=409)
    return dialogs.ask(request, "access/_access_key_rotate.html", title, context)
