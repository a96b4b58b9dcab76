"""Sign a request as AWS's clients do, written from the specification and apart from what checks it.

Source: AWS, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.test import Client

from secrets_app.crypto.plaintext import Plaintext

JSON = "application/x-amz-json-1.1"


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def signature(
    secret: str, stamp: str, region: str, service: str, request: tuple[str, str, str],
    headers: Mapping[str, str], hashed: str,
) -> str:  # fmt: skip
    """The signature of a request, given as method, path and query, with these headers signed."""
    names = sorted(headers)
    head = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    canonical = "\n".join([*request, head, ";".join(names), hashed])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode())}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Signer:
    """A client with an access key: it signs as boto3 does, and sends by Django's test client."""

    def __init__(
        self, key_id: str, secret: Plaintext, *, region: str = "local-1", path: str = "/aws/"
    ) -> None:
        self.key_id, self.secret, self.region, self.path = key_id, secret.reveal(), region, path
        self.http = Client(enforce_csrf_checks=True)

    def headers(
        self,
        body: bytes,
        target: str,
        *,
        at: datetime | None = None,
        service: str = "secretsmanager",
        unsigned: tuple[str, ...] = (),
        more: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The headers of a signed request; those of `unsigned` are sent and not signed."""
        stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        sent = {"content-type": JSON, "host": "testserver", "x-amz-date": stamp, **(more or {})}
        if target:
            sent["x-amz-target"] = target
        signed = {name: text for name, text in sent.items() if name not in unsigned}
        hashed = sha256(body)
        made = signature(self.secret, stamp, self.region, service, ("POST", self.path, ""), signed, hashed)
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{stamp[:8]}/{self.region}/{service}/aws4_request, "
            f"SignedHeaders={';'.join(sorted(signed))}, Signature={made}"
        )
        return sent

    def send(self, body: bytes, headers: Mapping[str, str], path: str = "") -> Any:
        return self.http.generic(
            "POST", path or self.path, body, content_type=headers.get("content-type", JSON),
            headers={name: text for name, text in headers.items() if name != "content-type"},
        )  # fmt: skip

    def call(self, operation: str, **given: Any) -> tuple[int, dict[str, Any]]:
        """Call an operation; return the status and the answer."""
        body = json.dumps(given).encode()
        answer = self.send(body, self.headers(body, f"secretsmanager.{operation}"))
        return answer.status_code, json.loads(answer.content) if answer.content else {}
