"""The way in for Alibaba Cloud's clients: `/alibaba/`, and `/` for requests that name an action as they do.

Before any session, cookie or form: nothing of a browser counts here. The order is the promise: a size that is
too large is refused before anything is read, a signature is checked before what it signs is used, a nonce
counts once, and whether the key is valid is said only to one who has its secret. What cannot be recorded is
not answered. Old clients send values in the query, so no line that is logged here holds any of it.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from console import http
from console.interfaces import first_question, new_regions, records
from console.interfaces.alibaba import calls, faults, nonces, parameters, signatures, table
from console.interfaces.rates import rates
from console.process import databases
from secrets_app import keyring, origin
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Principal, Region
from secrets_app.people import access_keys
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import read_limits

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
    with origin.bind(**where, at=timezone.now()):  # type: ignore[arg-type]
        signature, key = _signed(sent)
    signed = {"access_key": key.key_id, "client": _client(request)}
    with origin.bind(**where, at=timezone.now(), signed=signed):  # type: ignore[arg-type]
        actor = _principal(key)
        _refuse_again(key, signature)
        given = _given(key, sent, signature)
        region, said = _region(key, signature, given, sent)
        call = calls.Call(signature.action, actor, region, said or region.code, given)
        return _done(key, call, request_id)


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


def _signed(sent: signatures.Request) -> tuple[signatures.Signature, AccessKey]:
    """Return who has signed, as far as the signature shows it; else record that none has."""
    try:
        signature = signatures.read(sent)
        opened = first_question.opened(signature.key_id)
        if opened is None:
            raise faults.NO_SUCH_KEY()
        signatures.require(sent, signature, opened.secret, now=timezone.now())
    except faults.Fault as fault:
        access_keys.refuse_unknown(f"{fault.name}: no access key has signed this request as it is.")
        raise
    return signature, opened.key


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
    if signature.scheme in signatures.RPC:
        return parameters.Given(signature.given)
    try:
        return parameters.Given(parameters.merged(signature.given.items(), parameters.of_body(sent.body)))
    except faults.Fault:
        access_keys.refuse(key, "The parameters of this request cannot be read.")
        raise


def _region(
    key: AccessKey, signature: signatures.Signature, given: parameters.Given, sent: signatures.Request
) -> tuple[Region, str]:
    """The region of the signature's scope, of RegionId, or of the endpoint; and its name, if one was said.

    Raises `faults.Fault`.
    """
    # Each name once: of a region that is not there yet, two look-ups are two.
    names = list(dict.fromkeys(name for name in (signature.region, given.text("RegionId")) if name))
    found = {new_regions.region(name) for name in names}
    found = found or {calls.region_of_host(sent.headers.get("host", ""))}
    region = found.pop()
    if region is None or found:
        access_keys.refuse(key, "There is no region of the name in the request, or it names two.")
        raise faults.NO_SUCH_REGION()
    return region, names[-1] if names else ""


def _client(request: HttpRequest) -> str:
    """What the program says of itself: for the trail, and believed by nothing."""
    text = request.headers.get("User-Agent", "")[:120]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# ---------------------------------------------------------------- an action


def _done(key: AccessKey, call: calls.Call, request_id: str) -> HttpResponse:
    entry = table.TABLE.get(call.operation)
    if entry is None:
        access_keys.refuse(key, "There is no action of the name in the request.")
        raise faults.NO_SUCH_ACTION()
    before = origin.recorded()
    try:
        _require_rate(call, key, entry)
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
    return _json(answer | {"RequestId": request_id})


def _require_rate(call: calls.Call, key: AccessKey, entry: table.Entry) -> None:
    """Return if this second has room for the call. Raises `faults.Throttled`."""
    listed = call.given.json("SecretsList") if call.operation == "BatchGetSecretValue" else None
    count = len(listed) if isinstance(listed, list) and listed else 1
    beyond = rates.take(key.key_id, call.account, is_read=entry.is_read, calls=count)
    if beyond is not None:
        if beyond.is_to_note:
            access_keys.refuse(key, "There are more calls in a second than are answered.")
        raise faults.THROTTLED(again_in=beyond.seconds)


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
