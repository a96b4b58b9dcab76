"""Get secret value: the one page that holds a plaintext, for half a minute and for one pair of eyes."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from console import errors
from console.access import resources
from console.forms.secrets.secrets import Reveal
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from console.views.secrets import key_pair
from rotation import accounts, wires
from rotation.managed import restored
from rotation.models import ManagedAccount
from secrets_app import keyring
from secrets_app.crypto import envelope
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.policy.decisions import Action
from secrets_app.secrets import read_limits, versions

TITLE = "Get secret value"
SHOWN_SECONDS = 30


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
@never_cache
# The audit row must be durable before the value leaves, so no transaction may be around it.
@transaction.non_atomic_requests
def reveal(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.GET_SECRET_VALUE)
    version = _version(secret, request.GET.get("version", ""))
    form = Reveal(request.POST if request.method == "POST" else None)
    if version is None or not form.is_valid():
        return _ask(request, secret, region, version, form)
    value = _open(request, secret, region, version, form)
    if isinstance(value, HttpResponse):
        return value
    account = accounts.of(secret)
    file = key_pair.file_name(secret) if value.private_key else ""
    context = {
        "secret": secret,
        "region": region,
        "version": version,
        "username": value.username,
        "value": value.credential,  # not its text: a logger of templates prints what they were given
        "reason": form.cleaned_data["reason"],
        "file": file,
        "pairs": _pairs(value) if value.text else [],
        "generic_file": generic_file(secret, value) if secret.is_generic else "",
        "is_binary": value.binary is not None,
        **(_log_on(account, file) if account else {}),
        "seconds": SHOWN_SECONDS,
        "may_be_old": restored.may_be_old(secret),
        **key_pair.described(value.public_key),
    }
    return dialogs.show(request, "secrets/_value.html", TITLE, context)


@login_required
@require_POST
@fresh.required(back="secret_reveal")
@never_cache
@transaction.non_atomic_requests
def download(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """A private key or a generic value as a file. It is read again, so it is recorded again."""
    secret = resources.secret(request, region, pk, Action.GET_SECRET_VALUE)
    version = _version(secret, request.GET.get("version", ""))
    form = Reveal(request.POST)
    if version is None or not (version.public_key or secret.is_generic):
        raise Http404
    if not form.is_valid():
        return _ask(request, secret, region, version, form)
    value = _open(request, secret, region, version, form)
    if isinstance(value, HttpResponse):
        return value
    file = generic_file(secret, value) if secret.is_generic else key_pair.file_name(secret)
    response = HttpResponse(_bytes(value), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{file}"'
    return response


def generic_file(secret: Secret, value: versions.Value) -> str:
    return key_pair.file_name(secret, ".txt" if value.binary is None else ".bin")


def _bytes(value: versions.Value) -> bytes:
    return value.credential.encode() if value.binary is None else base64.b64decode(value.binary.encode())


def _pairs(value: versions.Value) -> list[tuple[Plaintext, Plaintext]]:
    """The keys and values of a text that is a JSON object; none of another text, or if a key comes twice."""

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        found = json.loads(value.credential.reveal(), object_pairs_hook=read)
        if not isinstance(found, dict):
            return []
        shown = {
            key: one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
            for key, one in found.items()
        }
    except (ValueError, RecursionError):
        return []
    return [(Plaintext(key), Plaintext(one)) for key, one in shown.items()]


def _open(
    request: OperatorRequest, secret: Secret, region: str, version: SecretVersion, form: Reveal
) -> versions.Value | HttpResponse:
    """The value, with its read recorded; or the page that says why there is none."""
    try:
        return versions.reveal(version, actor=request.principal, reason=form.cleaned_data["reason"])
    except read_limits.ReasonNeeded as error:
        form.add_error("reason", str(error))
        return _ask(request, secret, region, version, form)
    except read_limits.TooOften as error:
        return errors.too_often(request, str(error), error.again_at)
    except versions.NoValue:
        return errors.conflict(request, _why_none(secret), title="There is no value to show")
    except (keyring.KeyUnusable, keyring.Sealed, envelope.Tampered) as error:
        return errors.conflict(request, str(error), title="The value cannot be opened")


def _version(secret: Secret, version_id: str) -> SecretVersion | None:
    """The version asked for, else the current one; None where there is no value yet. Raises Http404."""
    if not version_id:
        return secret.labelled(Label.Role.CURRENT)
    version = secret.versions.filter(version_id=version_id).first()
    if version is None:
        raise Http404
    return version


def _ask(
    request: OperatorRequest, secret: Secret, region: str, version: SecretVersion | None, form: Reveal
) -> HttpResponse:
    context = {
        "secret": secret,
        "region": region,
        "version": version,
        "labels": version.labels.all() if version else [],
        "form": form,
        "seconds": SHOWN_SECONDS,
        "may_be_old": restored.may_be_old(secret),
        "needs_reason": read_limits.asks_for_reason(secret, actor=request.principal),
        "may_rotate": resources.may_of_account(request, Action.ROTATE_SECRET, secret),
    }
    status = 200
    if request.method == "POST":
        status = 409 if version is None else 422
    return dialogs.show(request, "secrets/_reveal.html", TITLE, context, status=status)


def _why_none(secret: Secret) -> str:
    if not secret.is_enabled:
        return "This secret is pending deletion: its values cannot be read until it is restored."
    return "This version's value was destroyed. Choose the current version."


def _log_on(account: ManagedAccount, file: str) -> dict[str, str]:
    """The command to log on with, and the name to enter if it asks for one."""
    at = account.instance
    way = wires.log_on(at.wire, at.os, account.username, at.address, at.port, file)
    return {
        "command": way.command,
        "log_on_as": way.name,
        # In the page itself: it is no secret, and a route of its own would be another read of the value.
        "log_on_file": base64.b64encode(way.file.encode()).decode(),
        "log_on_file_name": f"{at.instance_id}.rdp",
    }
