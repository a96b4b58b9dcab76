"""AWS's signatures: the documented example, and each part of a request changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from console.interfaces.aws import faults, signatures
from secrets_app.crypto.plaintext import Plaintext
from tests import sigv4

#: AWS, "Signature Version 4 signing process", the example of IAM's ListUsers.
SECRET = Plaintext("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
DOCUMENTED = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
EXAMPLE = signatures.Request(
    "GET",
    "/",
    "Action=ListUsers&Version=2010-05-08",
    {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": "iam.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        f"SignedHeaders=content-type;host;x-amz-date, Signature={DOCUMENTED}",
    },
    b"",
)


def check(request: signatures.Request, *, now: datetime = NOW, secret: Plaintext = SECRET) -> str:
    """The code that this request is refused with; empty where it is let in."""
    try:
        signatures.require(request, signatures.read(request), secret, now=now)
    except faults.Fault as fault:
        return fault.type
    return ""


def with_headers(request: signatures.Request, **changed: str | None) -> signatures.Request:
    named = {name.replace("_", "-"): text for name, text in changed.items()}
    merged: dict[str, str | None] = {**request.headers, **named}
    return replace(request, headers={name: text for name, text in merged.items() if text is not None})


def signed(*, unsigned: tuple[str, ...] = (), more: dict[str, str] | None = None) -> signatures.Request:
    """A request as a client signs it."""
    client = sigv4.Signer("AKIDEXAMPLE", SECRET)
    headers = client.headers(b"{}", "secretsmanager.GetSecretValue", at=NOW, unsigned=unsigned, more=more)
    return signatures.Request("POST", "/aws/", "", headers, b"{}")


def test_the_documented_example_is_let_in_by_its_documented_signature():
    assert check(EXAMPLE) == ""
    assert check(EXAMPLE, secret=Plaintext("another")) == "InvalidSignatureException"


def test_a_request_in_which_anything_was_changed_is_refused():
    request = signed(more={"x-amz-content-sha256": sigv4.sha256(b"{}"), "amz-sdk-request": "attempt=1"})
    assert check(request) == ""
    mismatch = "InvalidSignatureException"
    for name in request.headers:
        if name != "authorization":
            changed = with_headers(request, **{name: request.headers[name] + "1"})
            assert check(changed) in {mismatch, "IncompleteSignatureException"}, name
            assert check(with_headers(request, **{name: None})), name
    authorization = request.headers["authorization"]
    for old, new in (
        ("AKIDEXAMPLE/20150830", "AKIDEXAMPLE/20150831"),
        ("local-1", "local-2"),
        ("secretsmanager", "sts"),
        ("Signature=", "Signature=0"),
        (authorization[-1], "0" if authorization[-1] != "0" else "1"),
    ):
        changed = with_headers(request, authorization=new.join(authorization.rsplit(old, 1)))
        assert check(changed), old
    for other in (
        replace(request, body=b"{ }"),
        replace(request, body=b""),
        replace(request, path="/"),
        replace(request, query="a=b"),
        replace(request, method="GET"),
    ):
        assert check(other) == mismatch
    # A hash that the sender states is no proof of the body.
    swapped = replace(request, body=b'{"a": 1}')
    for stated in (sigv4.sha256(b"{}"), "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
        assert check(with_headers(swapped, x_amz_content_sha256=stated)) == mismatch


def test_the_hash_of_a_body_that_was_signed_has_to_be_the_bodys():
    """The signature itself is right here: it was made over what the sender states of the body."""
    for stated in (sigv4.sha256(b"{}"), "UNSIGNED-PAYLOAD"):
        headers = {
            "host": "testserver",
            "x-amz-content-sha256": stated,
            "x-amz-date": "20150830T123600Z",
            "x-amz-target": "secretsmanager.GetSecretValue",
        }
        made = sigv4.signature(
            SECRET.reveal(), headers["x-amz-date"], "local-1", "secretsmanager", ("POST", "/aws/", ""),
            headers, stated,
        )  # fmt: skip
        headers["authorization"] = (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/local-1/secretsmanager/aws4_request, "
            f"SignedHeaders={';'.join(sorted(headers))}, Signature={made}"
        )
        request = signatures.Request("POST", "/aws/", "", headers, b'{"SecretId": "another"}')
        assert check(request) == "InvalidSignatureException", stated


def test_the_headers_that_decide_have_to_be_signed():
    for name in ("host", "x-amz-date", "x-amz-target"):
        assert check(signed(unsigned=(name,))) == "IncompleteSignatureException", name
    assert check(signed(unsigned=("content-type",))) == ""


def test_a_request_is_good_for_five_minutes():
    request = signed()
    for minutes, code in ((4.9, ""), (5.1, "InvalidSignatureException")):
        for sign in (1, -1):
            assert check(request, now=NOW + sign * timedelta(minutes=minutes)) == code
    with pytest.raises(faults.Fault, match=r"^Signature expired: 20150830T123600Z is now earlier than "):
        signatures.require(request, signatures.read(request), SECRET, now=NOW + timedelta(minutes=6))
    with pytest.raises(faults.Fault, match=r"^Signature not yet current: 20150830T123600Z is still later "):
        signatures.require(request, signatures.read(request), SECRET, now=NOW - timedelta(minutes=6))
    # To one who has no secret, the clock says nothing.
    with pytest.raises(faults.Fault, match=r"^The request signature we calculated"):
        signatures.require(
            request, signatures.read(request), Plaintext("another"), now=NOW + timedelta(minutes=6)
        )


def test_a_header_that_says_no_signature_is_refused():
    request = signed()
    assert check(with_headers(request, authorization=None)) == "MissingAuthenticationTokenException"
    whole = request.headers["authorization"]
    for text in (
        "Basic YTpi", whole + "x", whole.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), "A" * 5000,
        whole.replace("SignedHeaders=content-type;host", "SignedHeaders=host;content-type"),
        whole.replace("SignedHeaders=content-type;host", "SignedHeaders=content-type;host;host"),
        whole.replace("/aws4_request", "/aws5_request"),
    ):  # fmt: skip
        assert check(with_headers(request, authorization=text)) == "IncompleteSignatureException", text[:60]
