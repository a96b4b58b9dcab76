"""Where a request ends: as gunicorn's own parser says, or it is refused."""

from __future__ import annotations

import json

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from console.process import framing

HEAD = b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\n"
NAMES = st.sampled_from(["Cookie", "x-one", "X-Content-Length", "Accept"])
FIELDS = st.lists(st.tuples(NAMES, st.text("abc: ;=", max_size=20)), max_size=8)


def request(fields: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{name}: {text.strip()}" for name, text in fields]
    given = ["POST /x HTTP/1.1", *lines, f"CONTENT-length: {len(body)}"]
    return "\r\n".join(given).encode() + b"\r\n\r\n" + body


@given(fields=FIELDS, body=st.binary(max_size=300), rest=st.binary(max_size=50))
def test_a_request_ends_where_the_server_s_parser_ends_it(fields, body, rest):
    whole = request(fields, body)
    found = framing.frame(whole + rest)
    assert found is not None
    assert found.length == len(whole)
    parsed = next(RequestParser(Config(), iter([whole + rest]), ("127.0.0.1", 1)))
    assert parsed.body.read() == body


@given(fields=FIELDS, body=st.binary(max_size=50), cut=st.integers(0, 400))
def test_half_a_head_has_no_end_and_half_a_body_has_the_same(fields, body, cut):
    whole = request(fields, body)
    head = whole.index(b"\r\n\r\n") + 4
    found = framing.frame(whole[:cut])
    assert found == (framing.Frame(len(whole), False) if cut >= head else None)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5, 6\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 0x5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length:\r\n", 400),
        ("Content-Length: \u0665\r\n".encode(), 400),  # a digit, but not one of HTTP's
        (b"Content-Length : 5\r\nContent-Length: 6\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"transfer-encoding: identity\r\nContent-Length: 5\r\n", 411),
        (b"Content-Length: 1048577\r\n", 413),
        (b"Content-Length: 999999999999\r\n", 413),
        (b"X: " + b"y" * framing.HEAD_LIMIT_BYTES, 431),
    ],
)
def test_a_length_that_is_not_certain_or_too_long_is_refused(fields, status):
    with pytest.raises(framing.Refused) as refused:
        framing.frame(HEAD + fields + b"\r\n")
    assert refused.value.status == status


def test_the_most_that_is_taken_is_taken():
    most = framing.frame(HEAD + b"Content-Length: 1048576\r\n\r\n")
    assert most is not None
    assert most.length > framing.BODY_LIMIT_BYTES


def test_a_client_that_waits_to_be_told_is_known():
    waiting = framing.frame(HEAD + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
    assert waiting is not None
    assert waiting.expects_continue


@pytest.mark.parametrize(
    "head",
    [
        b"POST /aws/ HTTP/1.1\r\nHost: a",
        b"GET /alibaba?x=1 HTTP/1.1\r\n",
        b"POST /?Format=JSON&Action=CreateSecret&SecretData=needle HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nX-Amz-Target: secretsmanager.GetSecretValue\r\n",
        b"POST / HTTP/1.1\r\nx-acs-action: GetSecretValue\r\n",
        b"POST / HTTP/1.1\r\nAuthorization: ACS3-HMAC-SHA256 Credential=needle\r\n",
    ],
)
def test_a_program_is_refused_in_json_that_repeats_nothing_of_its_request(head):
    for status in framing.REASONS:
        top, _, body = framing.refusal(status, bytearray(head)).partition(b"\r\n\r\n")
        assert f"HTTP/1.1 {status} ".encode() in top
        assert b"application/json" in top
        assert f"Content-Length: {len(body)}".encode() in top
        said = json.loads(body)
        assert said["__type"] == said["Code"]
        assert said["message"] == said["Message"]
        assert b"needle" not in top + body


@pytest.mark.parametrize(
    "head",
    [b"", b"GET / HTTP/1.1\r\n", b"POST /sign-in/?next=/aws/ HTTP/1.1\r\n", b"GET /awsome HTTP/1.1\r\n"],
)
def test_a_browser_is_refused_in_plain_text(head):
    assert b"text/plain" in framing.refusal(413, head)
