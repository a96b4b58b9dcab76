"""Check AWS Signature Version 4: that a request was signed with this secret, and is as it was signed.

Source: AWS, "Create a signed AWS API request". Stricter than it where a looser check would let something be
changed: the headers that decide must be among the signed ones, a hash of the body that is sent beside must be
the body's, and a signature in the URL is refused: a URL that reads a secret ends in logs.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from console.interfaces.aws import faults
from secrets_app.crypto.plaintext import Plaintext

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=5)
#: Without one of these, a signature would be good for another host, time or operation.
REQUIRED = frozenset({"host", "x-amz-date"})
_HEADER = re.compile(
    rf"{ALGORITHM} +Credential=([A-Za-z0-9]{{8,128}})/(\d{{8}})/([a-z0-9-]{{1,64}})/([a-z]{{1,32}})/aws4"
    r"_request *, *SignedHeaders=([a-z0-9;-]{1,2000}) *, *Signature=([0-9a-f]{64})"
)
_HEADER_AT_MOST = 4096
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Signature:
    """What an Authorization header says."""

    key_id: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]  # the names of those that are signed
    digest: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True)
class Request:
    """A request as it was sent: the path as it stood in the request line, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def read(request: Request) -> Signature:
    """Return what the request says of its signature. Raises `faults.Fault` for what is none."""
    text = request.headers.get("authorization", "")
    if not text:
        raise faults.MISSING_TOKEN()
    found = _HEADER.fullmatch(text) if len(text) <= _HEADER_AT_MOST else None
    if found is None:
        raise faults.incomplete("Authorization header is malformed.")
    key_id, date, region, service, names, digest = found.groups()
    headers = tuple(names.split(";"))
    if list(headers) != sorted(set(headers)) or "" in headers:
        raise faults.incomplete("SignedHeaders is not a sorted list of different names.")
    return Signature(key_id, date, region, service, headers, digest)


def require(request: Request, signature: Signature, secret: Plaintext, *, now: datetime) -> None:
    """Return if `secret` has signed this request, in the last five minutes. Raises `faults.Fault`."""
    needed = REQUIRED | ({"x-amz-target"} if "x-amz-target" in request.headers else set())
    missing = sorted(needed - set(signature.headers))
    missing += [name for name in signature.headers if name not in request.headers]
    if missing:
        raise faults.incomplete(f"The header {missing[0]} is not signed, or not there.")
    stamp = request.headers["x-amz-date"]
    at = _moment(stamp)
    if not stamp.startswith(signature.date):
        raise faults.MISMATCH()
    hashed = hashlib.sha256(request.body).hexdigest()
    if not hmac.compare_digest(request.headers.get("x-amz-content-sha256", hashed).encode(), hashed.encode()):
        raise faults.MISMATCH()
    text = "\n".join([ALGORITHM, stamp, signature.scope, _digest(canonical(request, signature, hashed))])
    if not hmac.compare_digest(sign(secret, signature, text).encode(), signature.digest.encode()):
        raise faults.MISMATCH()
    # Only now: to one who has no secret, the clock says nothing.
    if at < now - SKEW:
        raise faults.expired(stamp, _stamp(now - SKEW), _stamp(now))
    if at > now + SKEW:
        raise faults.not_yet(stamp, _stamp(now + SKEW), _stamp(now))


def canonical(request: Request, signature: Signature, hashed: str) -> str:
    """The text that stands for the request. The path is `/` or a folder's: it needs no encoding."""
    lines = [f"{name}:{' '.join(request.headers[name].split())}" for name in signature.headers]
    names = ";".join(signature.headers)
    return "\n".join([request.method, request.path, request.query, *lines, "", names, hashed])


def sign(secret: Plaintext, signature: Signature, text: str) -> str:
    """The signature of `text` by the key that belongs to this day, region and service."""
    key = b"AWS4" + secret.encode()
    for part in (signature.date, signature.region, signature.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_STAMP)


@functools.lru_cache(maxsize=256)  # of many requests in one second, all say the same
def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise faults.incomplete("X-Amz-Date is not a date such as 20261120T161735Z.") from None
