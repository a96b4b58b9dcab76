"""Sign requests as Alibaba Cloud's clients do, written from the specification and apart from what checks it.

Sources: Alibaba Cloud, "RPC request structure and signature", "V3 request structure and signature", and the
documented examples in `tests/unit/test_alibaba_signatures.py`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.test import Client

from secrets_app.crypto.plaintext import Plaintext

FORM = "application/x-www-form-urlencoded"
VERSION = "2016-01-20"
EMPTY = hashlib.sha256(b"").hexdigest()


def encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def rpc_signature(
    secret: str, method: str, parameters: Mapping[str, str], algorithm: str = "HMAC-SHA1"
) -> str:
    """The signature of the oldest scheme over all parameters."""
    pairs = "&".join(f"{encoded(name)}={encoded(parameters[name])}" for name in sorted(parameters))
    text = "&".join([method, encoded("/"), encoded(pairs)])
    chosen = hashlib.sha1 if algorithm == "HMAC-SHA1" else hashlib.sha256
    return base64.b64encode(hmac.new(f"{secret}&".encode(), text.encode(), chosen).digest()).decode()


def header_signature(
    scheme: str, key: bytes, request: tuple[str, str, Mapping[str, str]], headers: Mapping[str, str],
    hashed: str,
) -> tuple[str, str]:  # fmt: skip
    """The hash of the canonical request, given as method, path and query, and its signature."""
    method, path, query = request
    pairs = "&".join(f"{encoded(name)}={encoded(query[name])}" for name in sorted(query))
    head = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    canonical = "\n".join([method, path, pairs, head, ";".join(sorted(headers)), hashed])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return digest, hmac.new(key, f"{scheme}\n{digest}".encode(), hashlib.sha256).hexdigest()


def acs4_key(secret: str, date: str, region: str, product: str = "Kms") -> bytes:
    key = f"aliyun_v4{secret}".encode()
    for part in (date, region, product, "aliyun_v4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


class Signer:
    """A client with an access key, of one of three generations; it sends by Django's test client."""

    def __init__(
        self,
        key_id: str,
        secret: Plaintext,
        *,
        scheme: str = "ACS3",
        region: str = "local-1",
        path: str = "/",
    ) -> None:
        self.key_id, self.secret, self.scheme = key_id, secret.reveal(), scheme
        self.region, self.path = region, path
        self.http = Client(enforce_csrf_checks=True)

    def signed(
        self,
        action: str,
        given: Mapping[str, Any],
        *,
        at: datetime | None = None,
        nonce: str = "",
        unsigned: tuple[str, ...] = (),
        in_body: tuple[str, ...] = ("SecretData",),
        more: Mapping[str, str] | None = None,
    ) -> tuple[str, dict[str, str], bytes]:
        """A signed request: its query, its headers and its body."""
        stamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        nonce = nonce or uuid.uuid4().hex
        texts = {name: self._text(value) for name, value in given.items()}
        if self.scheme.startswith("HMAC"):
            return self._rpc(action, texts, stamp, nonce)
        query = {name: text for name, text in texts.items() if name not in in_body}
        form = {name: text for name, text in texts.items() if name in in_body}
        body = urlencode(form).encode()
        hashed = hashlib.sha256(body).hexdigest()
        headers = {
            "host": "testserver", "x-acs-action": action, "x-acs-version": VERSION, "x-acs-date": stamp,
            "x-acs-signature-nonce": nonce, "x-acs-content-sha256": hashed, "accept": "application/json",
            **({"content-type": FORM} if body else {}), **(more or {}),
        }  # fmt: skip
        covered = {name: text for name, text in headers.items() if name not in unsigned}
        scope, key, scheme = self.key_id, self.secret.encode(), f"{self.scheme}-HMAC-SHA256"
        if self.scheme == "ACS4":
            day = stamp[:10].replace("-", "")
            scope += f"/{day}/{self.region}/Kms/aliyun_v4_request"
            key = acs4_key(self.secret, day, self.region)
        _, made = header_signature(scheme, key, ("POST", self.path, query), covered, hashed)
        headers["authorization"] = (
            f"{scheme} Credential={scope},SignedHeaders={';'.join(sorted(covered))},Signature={made}"
        )
        return urlencode(query), headers, body

    def _rpc(
        self, action: str, texts: Mapping[str, str], stamp: str, nonce: str
    ) -> tuple[str, dict[str, str], bytes]:
        query = {
            "Action": action, "Version": VERSION, "Format": "JSON", "AccessKeyId": self.key_id,
            "SignatureMethod": self.scheme, "SignatureType": "", "SignatureVersion": "1.0",
            "SignatureNonce": nonce, "Timestamp": stamp, "RegionId": self.region, **texts,
        }  # fmt: skip
        query["Signature"] = rpc_signature(self.secret, "POST", query, self.scheme)
        return urlencode(query), {"host": "testserver"}, b""

    @staticmethod
    def _text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    def send(
        self, query: str, headers: Mapping[str, str], body: bytes = b"", *, path: str = "",
        method: str = "POST",
    ) -> Any:  # fmt: skip
        return self.http.generic(
            method, f"{path or self.path}?{query}" if query else path or self.path, body,
            content_type=headers.get("content-type", ""),
            headers={name: text for name, text in headers.items() if name != "content-type"},
        )  # fmt: skip

    def call(self, action: str, /, **given: Any) -> tuple[int, dict[str, Any]]:
        """Call an action; return the status and the answer."""
        answer = self.send(*self.signed(action, given))
        return answer.status_code, json.loads(answer.content)
