"""Check Alibaba Cloud's signatures: that a request was signed with this secret, and is as it was signed.

Three schemes, by the generation of the client: RPC v1 (HMAC-SHA1 or -SHA256 over the parameters),
ACS3-HMAC-SHA256 and ACS4-HMAC-SHA256 (over headers, query and the body's hash). Sources: Alibaba Cloud, "RPC
request structure and signature" and "V3 request structure and signature"; ACS4 as its public SDK signs.
Stricter than the service where a looser check would let something be changed: the headers that decide must
be among the signed ones, a name comes once, and a body that RPC v1 does not sign is refused.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from console.interfaces.alibaba import faults, parameters
from secrets_app.crypto.plaintext import Plaintext

SKEW = timedelta(minutes=15)
ACS3, ACS4 = "ACS3-HMAC-SHA256", "ACS4-HMAC-SHA256"
RPC = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}
VERSION = "2016-01-20"
#: Without one of these, a signature would be good for another host, time, action or body.
REQUIRED = frozenset({
    "host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256",
})  # fmt: skip
_HEADER = re.compile(
    r"(ACS[34]-HMAC-SHA256) +Credential=([A-Za-z0-9]{8,128})"
    r"(?:/(\d{8})/([A-Za-z0-9-]{1,64})/([A-Za-z]{1,32})/aliyun_v4_request)?"
    r" *, *SignedHeaders=([a-z0-9;-]{1,2000}) *, *Signature=([0-9a-f]{64})"
)
_HEADER_AT_MOST = 4096
_KEY_ID = re.compile(r"[A-Za-z0-9]{8,128}")
_NONCE = re.compile(r"[\x21-\x7e]{1,128}")
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
#: What an SDK that knows no region writes in the place of one.
NO_REGION = "center"


@dataclass(frozen=True)
class Request:
    """A request as it was sent: the path as it stood in the request line, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Signature:
    """What a request says of how it was signed."""

    scheme: str
    key_id: str
    action: str
    nonce: str
    stamp: str
    digest: str
    given: Mapping[str, str]  # the parameters, as far as they have been read: of RPC v1 all of them
    headers: tuple[str, ...] = ()  # the names of those that are signed
    date: str = ""
    region: str = ""
    product: str = ""


def read(request: Request) -> Signature:
    """Return what the request says of its signature. Raises `faults.Fault` for what is none."""
    text = request.headers.get("authorization", "")
    return _in_header(request, text) if text.startswith("ACS") else _in_parameters(request)


def _in_header(request: Request, text: str) -> Signature:
    found = _HEADER.fullmatch(text) if len(text) <= _HEADER_AT_MOST else None
    if found is None or (found.group(1) == ACS4) != (found.group(3) is not None):
        raise faults.incomplete("The Authorization header is malformed.")
    scheme, key_id, date, region, product, names, digest = found.groups()
    signed = tuple(names.split(";"))
    if list(signed) != sorted(set(signed)) or "" in signed:
        raise faults.incomplete("SignedHeaders is not a sorted list of different names.")
    missing = sorted(REQUIRED - set(signed)) + [name for name in signed if name not in request.headers]
    if missing:
        raise faults.incomplete(f"The header {missing[0]} is not signed, or not there.")
    if request.headers.get("x-acs-security-token"):
        raise faults.NO_TOKENS()
    headers = request.headers
    _check_version(headers["x-acs-version"])
    return Signature(
        scheme,
        key_id,
        headers["x-acs-action"],
        _checked_nonce(headers["x-acs-signature-nonce"]),
        headers["x-acs-date"],
        digest,
        parameters.merged(parameters.pairs(request.query)),
        signed,
        date or "",
        "" if region in {None, NO_REGION} else region,
        product or "",
    )


def _in_parameters(request: Request) -> Signature:
    """RPC v1 signs what the query and the form say, and nothing else: a body of another form is refused."""
    form = parameters.pairs(request.body.decode("latin-1"))
    given = parameters.merged(parameters.pairs(request.query), form)
    for name in ("AccessKeyId", "Signature", "SignatureNonce", "Timestamp", "Action"):
        if not given.get(name):
            raise faults.missing(name)
    if given.get("SignatureVersion") != "1.0" or given.get("SignatureMethod") not in RPC:
        raise faults.incomplete("SignatureVersion is 1.0, SignatureMethod is HMAC-SHA1 or HMAC-SHA256.")
    if given.get("SecurityToken"):
        raise faults.NO_TOKENS()
    if not _KEY_ID.fullmatch(given["AccessKeyId"]):
        raise faults.NO_SUCH_KEY()
    _check_version(given.get("Version", ""))
    return Signature(
        given["SignatureMethod"],
        given["AccessKeyId"],
        given["Action"],
        _checked_nonce(given["SignatureNonce"]),
        given["Timestamp"],
        given["Signature"],
        given,
    )


def _check_version(text: str) -> None:
    if text != VERSION:
        raise faults.BAD_VERSION()


def _checked_nonce(text: str) -> str:
    if not _NONCE.fullmatch(text):
        raise faults.incomplete("The nonce has 1 to 128 visible characters.")
    return text


def require(request: Request, signature: Signature, secret: Plaintext, *, now: datetime) -> None:
    """Return if `secret` has signed this request, in the last 15 minutes. Raises `faults.Fault`.

    Whether its nonce was used before is for the caller to say, who knows the other requests.
    """
    if signature.scheme in RPC:
        made = sign_parameters(secret, signature.scheme, request.method, signature.given)
    else:
        hashed = hashlib.sha256(request.body).hexdigest()
        if not _equal(hashed, request.headers["x-acs-content-sha256"]):
            raise faults.MISMATCH()
        made = sign_headers(secret, signature, request, hashed)
    if not _equal(made, signature.digest):
        raise faults.MISMATCH()
    # Only now: to one who has no secret, the clock says nothing.
    at = moment(signature.stamp)
    if signature.scheme == ACS4 and signature.stamp[:10].replace("-", "") != signature.date:
        raise faults.MISMATCH()
    if not now - SKEW <= at <= now + SKEW:
        raise faults.EXPIRED()


def sign_parameters(secret: Plaintext, scheme: str, method: str, given: Mapping[str, str]) -> str:
    """The signature of RPC v1 over these parameters, but `Signature`; the path is always `/` there."""
    signed = {name: text for name, text in given.items() if name != "Signature"}
    text = f"{method}&%2F&{_encoded(canonical_query(signed))}"
    key = secret.encode() + b"&"
    return base64.b64encode(hmac.digest(key, text.encode(), RPC[scheme])).decode()


def sign_headers(secret: Plaintext, signature: Signature, request: Request, hashed: str) -> str:
    """The signature of ACS3 or ACS4 over this request, whose body has this hash."""
    digest = hashlib.sha256(canonical(request, signature, hashed).encode("latin-1")).hexdigest()
    key = secret.encode()
    if signature.scheme == ACS4:
        key = b"aliyun_v4" + key
        for part in (signature.date, signature.region or NO_REGION, signature.product, "aliyun_v4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, f"{signature.scheme}\n{digest}".encode(), "sha256").hex()


def canonical(request: Request, signature: Signature, hashed: str) -> str:
    """The text that stands for the request. The path is `/` or a folder's: it needs no encoding."""
    lines = [f"{name}:{request.headers[name].strip()}" for name in signature.headers]
    names = ";".join(signature.headers)
    query = canonical_query(signature.given)
    return "\n".join([request.method, request.path, query, *lines, "", names, hashed])


def canonical_query(given: Mapping[str, str]) -> str:
    """Names and values in the order of the names, encoded again: clients write a space as + and sign %20."""
    return "&".join(f"{_encoded(name)}={_encoded(text)}" for name, text in sorted(given.items()))


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _equal(made: str, sent: str) -> bool:
    return hmac.compare_digest(made.encode(), sent.encode("utf-8", "replace"))


@functools.lru_cache(maxsize=256)  # of many requests in one second, all say the same
def moment(stamp: str) -> datetime:
    """Return the time that a request says. Raises `faults.Fault`."""
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise faults.BAD_STAMP() from None
