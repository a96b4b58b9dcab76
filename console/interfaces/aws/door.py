"""The way in for AWS's clients: `/aws/`, and `/` for requests that name an operation in X-Amz-Target.

Before any session, cookie or form: nothing of a browser counts here. The order is the promise: a size that is
too large is refused before the body is read, the signature is checked before the body is parsed, and whether
the key is valid is said only to one who has its secret. What cannot be recorded is not answered.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from console import http
from console.interfaces import first_question, kept, new_regions, records
from console.interfaces.aws import again, calls, faults, operations, shapes, signatures
from console.interfaces.aws.calls import require_rate
from console.process import databases
from secrets_app import keyring, origin
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Principal, Region
from secrets_app.people import access_keys
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import read_limits, remembered

log = logging.getLogger(__name__)

PATH = "/aws/"
BODY_AT_MOST = 100 * 1024
SERVICE, IDENTITY = again.SERVICE, "sts"
_JSON, _XML = "application/x-amz-json-1.1", "text/xml"
_TARGET = f"{SERVICE}."
WHO_AM_I = "kms:GetCallerIdentity"  # in the audit trail; no policy gives it: every key may ask


class Door:
    """Answer AWS's clients, and hand every other request on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not _is_ours(request):
            return self.get_response(request)
        request_id = str(uuid.UUID(request.request_id))  # type: ignore[attr-defined]
        try:
            response = _answered(request, request_id)
        except faults.Fault as fault:
            response = _refusal(request, fault, request_id)
        except (trail.NotRecorded, keyring.Sealed) as error:
            log.critical("A call was not answered: %s", error)
            response = _refusal(request, faults.UNAVAILABLE(), request_id)
        except keyring.KeyUnusable as error:
            log.critical("A call was not answered: %s", error)
            response = _refusal(request, faults.INTERNAL(), request_id)
        except Exception as error:
            log.exception("A call failed.")
            why = faults.UNAVAILABLE() if databases.passes(error) else faults.INTERNAL()
            response = _refusal(request, why, request_id)
        if response.status_code == 503:
            response["Retry-After"] = http.RETRY_SECONDS
            # Django would write a line for each of them; the lines above are one for each cause and minute.
            response._has_been_logged = True  # type: ignore[attr-defined]
        response["x-amzn-RequestId"] = request_id
        response["Content-Length"] = str(len(response.content))  # else it is sent in chunks
        return response


def _is_ours(request: HttpRequest) -> bool:
    path = request.path_info
    is_at_root = path == "/" and "X-Amz-Target" in request.headers
    return is_at_root or path == PATH.rstrip("/") or path.startswith(PATH)


def _answered(request: HttpRequest, request_id: str) -> HttpResponse:
    sent = _sent(request)
    if keyring.is_sealed():
        raise faults.UNAVAILABLE()
    address = http.client_address(request)
    where = {"request_id": request_id, "address": address, "is_secure": request.is_secure(), "is_mfa": False}
    client = _client(request)
    is_counted = False
    if again.is_one(sent):
        try:
            return HttpResponse(json.dumps(again.answer(sent, where, client)), content_type=_JSON)
        except kept.NotAsKept as other:
            is_counted = other.is_counted
    with origin.bind(**where, at=timezone.now()):  # type: ignore[arg-type]
        signature, key = _signed(sent)
    signed = {"access_key": key.key_id, "client": client}
    with origin.bind(**where, at=timezone.now(), signed=signed):  # type: ignore[arg-type]
        actor = _principal(key)
        region = new_regions.region(signature.region)
        if region is None:
            access_keys.refuse(key, "There is no region of the name in the signature.")
            raise faults.BAD_SCOPE()
        if signature.service == IDENTITY:
            return _identity(sent, key, actor, region, request_id)
        return _done(sent, key, actor, region, signature.region, is_counted=is_counted)


def _sent(request: HttpRequest) -> signatures.Request:
    """The request as it was sent. Raises `faults.Fault` before its body is read."""
    raw = str(request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or request.get_full_path())
    path, _, query = raw.partition("?")
    if path not in {"/", PATH, PATH.rstrip("/")}:
        raise faults.unknown_operation("There is no operation at this address.", status=404)
    if request.method != "POST":
        raise faults.unknown_operation("An operation is called by POST.", status=405)
    # A signature in the URL would be as good as the value to all who see the URL.
    if query:
        raise faults.MISSING_TOKEN()
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not length.isascii() or not length.isdigit() or int(length[:12]) > BODY_AT_MOST:
        raise faults.TOO_LARGE()
    headers = {name.lower(): text for name, text in request.headers.items()}
    return signatures.Request("POST", path, query, headers, request.body)


def _signed(sent: signatures.Request) -> tuple[signatures.Signature, AccessKey]:
    """Return who has signed, as far as the signature shows it; else record that none has."""
    try:
        signature = signatures.read(sent)
        if signature.service not in {SERVICE, IDENTITY} or "x-amz-security-token" in sent.headers:
            raise faults.BAD_TOKEN()
        opened = first_question.opened(signature.key_id)
        if opened is None:
            raise faults.BAD_TOKEN()
        signatures.require(sent, signature, opened.secret, now=timezone.now())
    except faults.Fault as fault:
        access_keys.refuse_unknown(f"{fault.type}: no access key has signed this request as it is.")
        raise
    return signature, opened.key


def _principal(key: AccessKey) -> Principal:
    try:
        return access_keys.require_usable(key)
    except access_keys.Unusable:
        raise faults.BAD_TOKEN() from None


def _client(request: HttpRequest) -> str:
    """What the program says of itself: for the trail, and believed by nothing."""
    text = request.headers.get("User-Agent", "")[:120]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# ---------------------------------------------------------------- an operation


def _done(
    sent: signatures.Request,
    key: AccessKey,
    actor: Principal,
    region: Region,
    region_name: str,
    *,
    is_counted: bool,
) -> HttpResponse:
    target = sent.headers.get("x-amz-target", "")
    name = target.removeprefix(_TARGET)
    operation = operations.TABLE.get(name) if target.startswith(_TARGET) else None
    if operation is None:
        access_keys.refuse(key, "There is no operation of the name in the request.")
        raise faults.unknown_operation("Keyturn has no such operation.")
    call, before = calls.Call(name, actor, region, region_name, {}), origin.recorded()
    try:
        call.given = shapes.read(name, sent.body)
        if not is_counted:
            require_rate(call, key, is_read=operation.is_read)
        answer = operation.do(call)
    except decisions.NotAllowed as error:
        if not isinstance(error, read_limits.ReasonNeeded):  # which has been recorded
            requiring.refused(actor, error)
        raise faults.denied(call.user_arn, name, _denied_about(call)) from None
    except faults.Throttled:
        raise
    except DomainError as error:
        fault = faults.of(error)
        records.failed(call, operation.action, error, fault.type)
        raise fault from None
    if origin.recorded() == before:
        records.done(call, operation.action)
    access_keys.note_use(key, name)
    if name == again.OPERATION and call.about is not None:
        remembered.learn(key.key_id, call.about)
    return HttpResponse(json.dumps(answer), content_type=_JSON)


def _denied_about(call: calls.Call) -> str:
    named = str(call.given.get("SecretId") or call.given.get("Name") or "*")
    return named if named.startswith("arn:") else call.arn_of(named)


# ---------------------------------------------------------------- who has signed


def _identity(
    sent: signatures.Request, key: AccessKey, actor: Principal, region: Region, request_id: str
) -> HttpResponse:
    """Answer GetCallerIdentity, which clients ask of another service to see whether their key is valid."""
    asked = parse_qs(sent.body.decode("ascii", "replace")).get("Action", [""])
    if asked != ["GetCallerIdentity"]:
        access_keys.refuse(key, "There is no operation of the name in the request.")
        raise faults.Fault("InvalidAction", "Keyturn answers GetCallerIdentity only.")
    number = calls.account(region)
    who = access_keys.named(actor)
    trail.record(WHO_AM_I, who.arn, actor=actor, resource_id=who.pk)
    access_keys.note_use(key, "GetCallerIdentity")
    text = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<GetCallerIdentityResult><Arn>arn:aws:iam::{number}:user/{actor.name}</Arn>"
        f"<UserId>{key.key_id}</UserId><Account>{number}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    return HttpResponse(text, content_type=_XML)


# ---------------------------------------------------------------- refusals


def _refusal(request: HttpRequest, fault: faults.Fault, request_id: str) -> HttpResponse:
    if f"/{IDENTITY}/aws4_request" in request.headers.get("Authorization", "")[:300]:
        text = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{fault.type}</Code><Message>{_escaped(fault.sentence)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return HttpResponse(text, content_type=_XML, status=fault.status)
    # Clients read one spelling or the other; the service itself sends each for some of its errors.
    body: dict[str, Any] = {"__type": fault.type, "Message": fault.sentence, "message": fault.sentence}
    response = HttpResponse(json.dumps(body), content_type=_JSON, status=fault.status)
    if fault.status == 405:
        response["Allow"] = "POST"
    if isinstance(fault, faults.Throttled):
        response["Retry-After"] = str(fault.again_in)
    return response


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
