"""The way in for Alibaba Cloud's clients: `/alibaba/`, and `/` for requests that name an action as they do.

Before any session, cookie or form: nothing of a browser counts here. The order is the promise: a size that is
too large is refused before anything is read, a signature is checked before what it signs is used, a nonce
counts once, and whether the key is valid is said only to one who has its secret. What cannot be recorded is
not answered. Old clients send values in the query, so no line that is logged here holds any of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from console import http
from console.interfaces import first_question, kept, records
from console.interfaces.alibaba import again, calls, faults, nonces, parameters, signatures, table
from console.process import databases
from secrets_app import keyring, origin
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Principal, Region
from secrets_app.people import access_keys
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import read_limits, remembered

log = logging.getLogger(__name__)

PATH = "/alibaba/"
SENT_AT_MOST = 100 * 1024
_ACTION = re.compile(r"(?:^|&)Action=")
_FORM = "application/x-www-form-urlencoded"


class OnlyTls:
    """Refuse a call that came without TLS where a page would be redirected to https.

    The redirect would repeat a query that may hold a value, and these clients do not follow one. It stands
    before everything that redirects, so the answer has no other headers than its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not settings.SECURE_SSL_REDIRECT or request.is_secure() or not _is_ours(request):
            return self.get_response(request)
        request_id = str(uuid.uuid4())
        response = _refusal(faults.NEEDS_TLS(), request, request_id)
        response["x-acs-request-id"], response["Cache-Control"] = request_id, "no-store"
        return response


class Door:
    """Answer Alibaba Cloud's clients, and hand every other request on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not _is_ours(request):
            return self.get_response(request)
        request_id = str(uuid.UUID(request.request_id))  # type: ignore[attr-defined]
        try:
            response = _answered(request, request_id)
        except faults.Fault as fault:
            response = _refusal(fault, request, request_id)
        except (trail.NotRecorded, keyring.Sealed, keyring.KeyUnusable) as error:
            log.critical("A call was not answered: %s", error)
            response = _refusal(faults.UNAVAILABLE(), request, request_id)
        except Exception as error:
            log.exception("A call failed.")
            why = faults.UNAVAILABLE() if databases.passes(error) else faults.INTERNAL()
            response = _refusal(why, request, request_id)
        if response.status_code == 503:
            response["Retry-After"] = http.RETRY_SECONDS
            # Django would write a line for each of them; the lines above are one for each cause and minute.
            response._has_been_logged = True  # type: ignore[attr-defined]
        response["x-acs-request-id"] = request_id
        response["Content-Length"] = str(len(response.content))  # else it is sent in chunks
        return response


def _is_ours(request: HttpRequest) -> bool:
    path = request.path_info
    if path == PATH.rstrip("/") or path.startswith(PATH):
        return True
    if path != "/" or request.headers.get("Authorization", "").startswith("AWS4-"):
        return False
    if "x-acs-action" in request.headers or _ACTION.search(request.META.get("QUERY_STRING", "")):
        return True
    is_form = request.method == "POST" and request.content_type == _FORM
    return (
        is_form and _length(request) <= SENT_AT_MOST and bool(_ACTION.search(request.body.decode("latin-1")))
    )


def _length(request: HttpRequest) -> int:
    """How long the body is said to be; more than is taken, if that is no number."""
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    return int(length[:12]) if length.isascii() and length.isdigit() else SENT_AT_MOST + 1


def _answered(request: HttpRequest, request_id: str) -> HttpResponse:
    sent = _sent(request)
    if keyring.is_sealed():
        raise faults.UNAVAILABLE()
    address = http.client_address(request)
    where = {"request_id": request_id, "address": address, "is_secure": request.is_secure(), "is_mfa": False}
    client, is_counted = _client(request), False
    with origin.bind(**where, at=timezone.now()):  # type: ignore[arg-type]
        signature = _said(sent)
    if signature.action == again.OPERATION:
        try:
            return _json(again.answer(sent, signature, where, client) | {"RequestId": request_id})
        except kept.NotAsKept as other:
            is_counted = other.is_counted
    with origin.bind(**where, at=timezone.now()):  # type: ignore[arg-type]
        key = _signed(sent, signature)
    signed = {"access_key": key.key_id, "client": client}
    with origin.bind(**where, at=timezone.now(), signed=signed):  # type: ignore[arg-type]
        actor = _principal(key)
        _refuse_again(key, signature)
        given = _given(key, sent, signature)
        region, said = _region(key, signature, given, sent)
        call = calls.Call(signature.action, actor, region, said or region.code, given)
        return _done(key, call, request_id, is_counted=is_counted)


def _sent(request: HttpRequest) -> signatures.Request:
    """The request as it was sent. Raises `faults.Fault` before its body is read."""
    raw = str(request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or request.get_full_path())
    path, _, query = raw.partition("?")
    if path not in {"/", PATH, PATH.rstrip("/")}:
        raise faults.NO_SUCH_ACTION()
    if request.method not in {"GET", "POST"}:
        raise faults.BAD_METHOD()
    if _length(request) > SENT_AT_MOST or len(query) > SENT_AT_MOST:
        raise faults.TOO_LARGE()
    headers = {name.lower(): text for name, text in request.headers.items()}
    return signatures.Request(request.method, path, query, headers, request.body)


def _said(sent: signatures.Request) -> signatures.Signature:
    """Return what the request says of its signature; else record that no key has signed it."""
    with _refusing_the_unknown():
        return signatures.read(sent)


def _signed(sent: signatures.Request, signature: signatures.Signature) -> AccessKey:
    """Return who has signed, as far as the signature shows it; else record that none has."""
    with _refusing_the_unknown():
        opened = first_question.opened(signature.key_id)
        if opened is None:
            raise faults.NO_SUCH_KEY()
        signatures.require(sent, signature, opened.secret, now=timezone.now())
        return opened.key


@contextlib.contextmanager
def _refusing_the_unknown() -> Iterator[None]:
    try:
        yield
    except faults.Fault as fault:
        access_keys.refuse_unknown(f"{fault.name}: no access key has signed this request as it is.")
        raise


def _principal(key: AccessKey) -> Principal:
    try:
        return access_keys.require_usable(key)
    except access_keys.Unusable:
        raise faults.KEY_UNUSABLE() from None


def _refuse_again(key: AccessKey, signature: signatures.Signature) -> None:
    try:
        nonces.use(key, signature)
    except faults.Fault:
        access_keys.refuse(key, "The nonce of this request was used before.")
        raise


def _given(key: AccessKey, sent: signatures.Request, signature: signatures.Signature) -> parameters.Given:
    """The parameters, with those of a body that the headers' signature covers. Raises `faults.Fault`."""
    try:
        return parameters.of_call(sent.body, signature.given, is_whole=signature.scheme in signatures.RPC)
    except faults.Fault:
        access_keys.refuse(key, "The parameters of this request cannot be read.")
        raise


def _region(
    key: AccessKey, signature: signatures.Signature, given: parameters.Given, sent: signatures.Request
) -> tuple[Region, str]:
    """The region of the signature's scope, of RegionId, or of the endpoint; and its name, if one was said.

    Raises `faults.Fault`.
    """
    region, said = calls.region_said(signature.region, given, sent.headers.get("host", ""))
    if region is None:
        access_keys.refuse(key, "There is no region of the name in the request, or it names two.")
        raise faults.NO_SUCH_REGION()
    return region, said


def _client(request: HttpRequest) -> str:
    """What the program says of itself: for the trail, and believed by nothing."""
    text = request.headers.get("User-Agent", "")[:120]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# ---------------------------------------------------------------- an action


def _done(key: AccessKey, call: calls.Call, request_id: str, *, is_counted: bool) -> HttpResponse:
    entry = table.TABLE.get(call.operation)
    if entry is None:
        access_keys.refuse(key, "There is no action of the name in the request.")
        raise faults.NO_SUCH_ACTION()
    before = origin.recorded()
    try:
        if not is_counted:
            calls.require_rate(call, key, is_read=entry.is_read)
        answer = entry.do(call)
    except decisions.NotAllowed as error:
        if not isinstance(error, read_limits.ReasonNeeded):  # which has been recorded
            requiring.refused(call.actor, error)
        raise _named(call, _denied(call, entry.right)) from None
    except faults.Throttled:
        raise
    except DomainError as error:
        fault = faults.of(error)
        records.failed(call, entry.right, error, fault.name)
        raise _named(call, fault) from None
    if origin.recorded() == before:
        records.done(call, entry.right)
    access_keys.note_use(key, call.operation)
    if call.operation == again.OPERATION and call.about is not None:
        remembered.learn(key.key_id, call.about)
    return _json(answer | {"RequestId": request_id})


def _named(call: calls.Call, fault: faults.Fault) -> faults.Fault:
    """The fault under the names that a read has which only asks whether it would be answered."""
    is_dry = call.operation == "GetSecretValue" and call.given.text("DryRun").lower() == "true"
    if is_dry and fault.status < 500 and fault.name != faults.DRY_RUN:
        fault.name = "AccessDeniedError" if fault.status == 403 else "ValidationError"
    return fault


def _denied(call: calls.Call, right: str) -> faults.Fault:
    fault = faults.DENIED()
    fault.detail = {
        "AuthAction": str(right),
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": call.region.account.number,
        "AuthPrincipalDisplayName": call.actor.name,
    }
    return fault


# ---------------------------------------------------------------- answers


def _refusal(fault: faults.Fault, request: HttpRequest, request_id: str) -> HttpResponse:
    body: dict[str, Any] = {
        "RequestId": request_id,
        "HostId": request.headers.get("Host", ""),
        "Code": fault.name,
        "Message": fault.sentence,
        "HttpStatus": fault.status,
    }
    if fault.detail:
        body["AccessDeniedDetail"] = fault.detail
    response = _json(body, status=fault.status)
    if fault.status == 405:
        response["Allow"] = "GET, POST"
    if isinstance(fault, faults.Throttled):
        response["x-acs-retry-after"] = str(fault.again_in)
    return response


def _json(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return HttpResponse(json.dumps(body), content_type="application/json;charset=utf-8", status=status)
