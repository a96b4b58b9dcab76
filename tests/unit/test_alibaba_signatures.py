"""Alibaba Cloud's signatures: the documented examples, and each part of a request changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from console.interfaces.alibaba import faults, parameters, signatures
from secrets_app.crypto.plaintext import Plaintext
from tests import acs

NOW = datetime(2026, 11, 20, 15, 48, 7, tzinfo=UTC)
SECRET = Plaintext("a-secret-of-an-access-key")
SCHEMES = ("HMAC-SHA1", "HMAC-SHA256", "ACS3", "ACS4")
GIVEN = {"SecretName": "acs/ecs/web 1+é~*", "SecretData": '{"UserName": "root"}', "VersionId": "v1"}


def check(request: signatures.Request, *, now: datetime = NOW, secret: Plaintext = SECRET) -> str:
    """The code that this request is refused with; empty where it is let in."""
    try:
        signature = signatures.read(request)
        signatures.require(request, signature, secret, now=now)
        if signature.scheme not in signatures.RPC:
            parameters.merged(signature.given.items(), parameters.of_body(request.body))
    except faults.Fault as fault:
        return fault.name
    return ""


def signed(scheme: str, *, in_form: bool = True, **more: object) -> signatures.Request:
    """A request as a client signs it."""
    client = acs.Signer("LTAItestid", SECRET, scheme=scheme)
    query, headers, body = client.signed("CreateSecret", GIVEN, at=NOW, nonce="nonce-1", **more)  # type: ignore[arg-type]
    if scheme in signatures.RPC and in_form:  # as Terraform sends it
        return signatures.Request("POST", "/", "", headers, query.encode())
    return signatures.Request("POST", "/", query, headers, body)


def with_headers(request: signatures.Request, changed: dict[str, str | None]) -> signatures.Request:
    merged: dict[str, str | None] = {**request.headers, **changed}
    return replace(request, headers={name: text for name, text in merged.items() if text is not None})


# ---------------------------------------------------------------- documented examples


def test_the_documented_signature_of_rpc_is_computed():
    given = {
        "Format": "JSON", "RegionId": "cn-beijing", "AccessKeyId": "testid", "SignatureVersion": "1.0",
        "SignatureMethod": "HMAC-SHA1", "Action": "DescribeDedicatedHosts", "Version": "2014-05-26",
        "SignatureNonce": "edb2b34af0af9a6d14deaf7c1a5315eb", "Timestamp": "2023-03-13T08:34:30Z",
    }  # fmt: skip
    made = signatures.sign_parameters(Plaintext("testsecret"), "HMAC-SHA1", "GET", given)
    assert made == "9NaGiOspFP5UPcwX8Iwt2YJXXuk="
    assert acs.rpc_signature("testsecret", "GET", given) == made


def test_the_documented_signature_of_acs3_is_computed():
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com", "x-acs-action": "RunInstances",
        "x-acs-content-sha256": acs.EMPTY, "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d", "x-acs-version": "2014-05-26",
    }  # fmt: skip
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    request = signatures.Request("POST", "/", urlencode(query), headers, b"")
    signature = signatures.Signature(
        signatures.ACS3, "YourAccessKeyId", "RunInstances", "", "", "", query, tuple(sorted(headers))
    )
    text = signatures.canonical(request, signature, acs.EMPTY)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("7ea06492")
    made = signatures.sign_headers(Plaintext("YourAccessKeySecret"), signature, request, acs.EMPTY)
    assert made.startswith("06563a9e")
    assert made.endswith("83c0")


# ---------------------------------------------------------------- something changed


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_request_is_let_in_as_its_client_has_signed_it(scheme):
    assert check(signed(scheme)) == ""
    assert check(signed(scheme, in_form=False)) == ""
    assert check(signed(scheme), secret=Plaintext("another")) == "SignatureDoesNotMatch"


def bytes_changed(text: bytes) -> Iterator[bytes]:
    """The text with each of its bytes changed once, one left out, and one doubled."""
    for place, byte in enumerate(text):
        for other in {ord("a"), ord("="), ord("&"), ord("+"), ord("%"), byte ^ 1} - {byte}:
            yield text[:place] + bytes([other]) + text[place + 1 :]
        yield text[:place] + text[place + 1 :]
        yield text[:place] + bytes([byte]) + text[place:]


def means(request: signatures.Request) -> object:
    """What a request says, whichever way it is written: %2F and %2f are one."""
    try:
        query, body = parameters.pairs(request.query), parameters.pairs(request.body.decode("latin-1"))
    except faults.Fault:
        return None
    return sorted(query), sorted(body), request.headers


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_request_in_which_one_byte_was_changed_is_refused(scheme):
    for request in (signed(scheme), signed(scheme, in_form=False)):
        said = means(request)
        for changed in bytes_changed(request.body):
            other = replace(request, body=changed)
            is_same = scheme in signatures.RPC and means(other) == said
            assert is_same or check(other), changed
        for query in bytes_changed(request.query.encode()):
            other = replace(request, query=query.decode("latin-1"))
            assert means(other) == said or check(other), query
        for name, text in request.headers.items():
            if scheme in signatures.RPC or name == "authorization":
                continue
            assert check(with_headers(request, {name: None})), name
            for byte in bytes_changed(text.encode()):
                changed_text = byte.decode("latin-1")
                other = with_headers(request, {name: changed_text})
                assert changed_text.strip() == text or check(other), (name, byte)
        for other in (
            replace(request, method="GET"),
            replace(request, query=f"{request.query}&a=b".lstrip("&")),
            replace(request, query=f"{request.query}&VersionId=v1".lstrip("&")),
            replace(request, body=request.body + b"&a=b"),
            replace(request, body=b'{"SecretName": "another"}'),
        ):
            assert check(other), other
    if scheme in {"ACS3", "ACS4"}:
        assert check(replace(signed(scheme), path="/alibaba/")) == "SignatureDoesNotMatch"


def test_every_part_of_the_header_that_says_the_signature_counts():
    for scheme in ("ACS3", "ACS4"):
        request = signed(scheme)
        whole = request.headers["authorization"]
        names = whole.partition("SignedHeaders=")[2].partition(",")[0]
        for old, new in (
            (f"{scheme}-", "ACS3-" if scheme == "ACS4" else "ACS4-"),
            ("LTAItestid/20261120", "LTAItestid/20261121"),
            ("local-1", "local-2"),
            ("/Kms/", "/Ecs/"),
            ("aliyun_v4_request", "aliyun_v5_request"),
            (names, names.replace(";host", "")),
            (names, ";".join(reversed(names.split(";")))),
            (names, f"{names};{names.rpartition(';')[2]}"),
            (names, f"{names};x-z"),
            ("Signature=", "Signature=0"),
            (whole[-1], "0" if whole[-1] != "0" else "1"),
        ):
            if old in whole:
                text = new.join(whole.rsplit(old, 1))
                assert check(with_headers(request, {"authorization": text})), (scheme, old, new)
        assert check(with_headers(request, {"authorization": "ACS3-" + "A" * 5000})) == "IncompleteSignature"


def test_the_hash_of_a_body_that_was_signed_has_to_be_the_bodys():
    """The signature itself is right here: it was made over what the sender states of the body."""
    headers = {
        "host": "testserver", "x-acs-action": "GetSecretValue", "x-acs-content-sha256": acs.EMPTY,
        "x-acs-date": "2026-11-20T15:48:07Z", "x-acs-signature-nonce": "n", "x-acs-version": acs.VERSION,
    }  # fmt: skip
    _, made = acs.header_signature(signatures.ACS3, SECRET.encode(), ("POST", "/", {}), headers, acs.EMPTY)
    headers["authorization"] = (
        f"ACS3-HMAC-SHA256 Credential=LTAItestid,SignedHeaders={';'.join(sorted(headers))},Signature={made}"
    )
    assert check(signatures.Request("POST", "/", "", headers, b"")) == ""
    assert check(signatures.Request("POST", "/", "", headers, b"SecretName=b")) == "SignatureDoesNotMatch"


def test_the_headers_that_decide_have_to_be_signed():
    for scheme in ("ACS3", "ACS4"):
        for name in sorted(signatures.REQUIRED):
            assert check(signed(scheme, unsigned=(name,))) == "IncompleteSignature", name
        assert check(signed(scheme, unsigned=("accept",))) == ""


def test_a_parameter_that_comes_twice_is_refused_wherever_it_stands():
    for request in (signed("ACS3"), signed("HMAC-SHA1"), signed("HMAC-SHA1", in_form=False)):
        for other in (
            replace(request, query=f"{request.query}&SecretName=b&SecretName=b".lstrip("&")),
            replace(request, query=f"{request.query}&VersionId=v1".lstrip("&")),
        ):
            assert check(other) == "InvalidParameter"


# ---------------------------------------------------------------- the clock, and what is no signature


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_request_is_good_for_fifteen_minutes(scheme):
    request = signed(scheme)
    for minutes, code in ((14.9, ""), (15.1, "InvalidTimeStamp.Expired")):
        for sign in (1, -1):
            assert check(request, now=NOW + sign * timedelta(minutes=minutes)) == code
    # To one who has no secret, the clock says nothing.
    late = NOW + timedelta(minutes=16)
    assert check(request, now=late, secret=Plaintext("another")) == "SignatureDoesNotMatch"


def test_what_says_no_signature_of_a_known_scheme_is_refused():
    rpc = acs.Signer("LTAItestid", SECRET, scheme="HMAC-SHA1")
    query, headers, _ = rpc.signed("GetSecretValue", {"SecretName": "a"}, at=NOW)
    for old, new, code in (
        ("SignatureMethod=HMAC-SHA1", "SignatureMethod=HMAC-MD5", "IncompleteSignature"),
        ("SignatureVersion=1.0", "SignatureVersion=2.0", "IncompleteSignature"),
        ("Version=2016-01-20&", "Version=2015-01-20&", "InvalidVersion"),
        ("SignatureNonce=", "SignatureNonsense=", "MissingParameter"),
        ("AccessKeyId=LTAItestid", "AccessKeyId=%00", "InvalidAccessKeyId.NotFound"),
        ("RegionId=local-1", "RegionId=local-1&SecurityToken=t", "InvalidSecurityToken.Malformed"),
    ):
        assert old in query, old
        changed = query.replace(old, new, 1)
        assert check(signatures.Request("POST", "/", changed, headers, b"")) == code, new
    temporary = signed("ACS3", more={"x-acs-security-token": "t"})
    assert check(temporary) == "InvalidSecurityToken.Malformed"
    other = signed("ACS3", more={"x-acs-version": "2015-01-20"})
    assert check(other) == "InvalidVersion"


def test_the_text_of_a_wrong_signature_has_a_colon_and_nothing_that_was_sent():
    """An old client splits it there, and dies of a text without one."""
    sentence = faults.MISMATCH().sentence
    assert sentence.split(":")[1].strip() == "the string to sign is not repeated here."
